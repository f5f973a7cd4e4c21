"""Patterns of paths with named places, `photos/{patient}_{eye}*.jpg`: they match in bounded time whatever they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_TOKEN = re.compile(r"\{(?P<place>[a-z_]*)\}|(?P<any>\*+)|(?P<bad>[{}])|(?P<text>[^{}*]+)")
_MOST_CHARACTERS = 300
_MOST_ANY_FOLDERS = 3

Accept = Callable[[str, str], bool]
"""Whether a named place may stand for a text."""


@dataclass(frozen=True)
class _Piece:
    """Literal text, or a place for any text: named, or without a name and then perhaps empty."""

    text: str = ""
    place: str | None = None


@dataclass(frozen=True)
class Pattern:
    """A pattern that a path's end must match, in any letter case.

    `{name}` stands for one character or more of a folder's or file's name and is reported, `*` for any number of them,
    `**` as a whole folder for any folders or none. Nothing matches a slash. Of several ways to match, the one counts in
    which the earlier places are shortest.

    Args:
        text: As it was written.
        parts: Pieces of each folder's and the file's name; None for `**`.
        places: Names of the named places.
    """

    text: str
    parts: tuple[tuple[_Piece, ...] | None, ...]
    places: frozenset[str]

    @classmethod
    def of(cls, text: str, known: Collection[str]) -> Pattern:
        """The pattern that `text` writes; `ValueError` where it is none, or names a place that is not `known`."""
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"the pattern has {len(text)} characters, more than {_MOST_CHARACTERS}")
        names = [part for part in text.strip().strip("/").split("/") if part not in ("", ".")]
        if not names or ".." in names:
            raise ValueError(f"the pattern {text!r} is no path inside the archive")
        parts = tuple(None if name == "**" else _pieces(name) for name in names)
        if sum(part is None for part in parts) > _MOST_ANY_FOLDERS or parts[-1] is None:
            raise ValueError(f"the pattern {text!r} may have ** {_MOST_ANY_FOLDERS} times, and not at its end")
        places = [piece.place for part in parts for piece in part or () if piece.place]
        unknown = sorted(set(places) - set(known))
        if unknown:
            named = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise ValueError(f"the pattern {text!r} has the place {{{unknown[0]}}}; known are {named}")
        if len(places) > len(set(places)):
            raise ValueError(f"the pattern {text!r} has a named place twice")
        return cls(text, parts, frozenset(places))

    def match(self, path: PurePosixPath, accept: Accept = lambda name, value: True) -> dict[str, str] | None:
        """What the named places stand for in `path`, or None where it does not match."""
        return _match_parts((None, *self.parts), path.parts, accept)


def _pieces(name: str) -> tuple[_Piece, ...]:
    pieces = []
    for token in _TOKEN.finditer(name):
        if token["bad"] or token["place"] == "":
            raise ValueError(f"{name!r} has a brace that begins or ends no {{name}}")
        pieces.append(_Piece(place=token["place"] or "") if token["text"] is None else _Piece(token["text"].casefold()))
    return tuple(pieces)


def _match_parts(
    parts: tuple[tuple[_Piece, ...] | None, ...], names: tuple[str, ...], accept: Accept
) -> dict[str, str] | None:
    if not parts:
        return None if names else {}
    first, rest = parts[0], parts[1:]
    if first is None:
        for skipped in range(len(names) + 1):
            if (found := _match_parts(rest, names[skipped:], accept)) is not None:
                return found
        return None
    if not names or (here := _match_name(first, names[0], accept)) is None:
        return None
    further = _match_parts(rest, names[1:], accept)
    return None if further is None else {**here, **further}


def _match_name(pieces: tuple[_Piece, ...], name: str, accept: Accept) -> dict[str, str] | None:
    """Tries the shortest text for each place first; what failed once is not tried again, so time stays polynomial."""
    folded = name.casefold()
    if len(folded) != len(name):
        folded = name.lower() if len(name.lower()) == len(name) else name
    failed: set[tuple[int, int]] = set()

    def walk(piece: int, at: int) -> dict[str, str] | None:
        if piece == len(pieces):
            return {} if at == len(name) else None
        if (piece, at) in failed:
            return None
        for end in _ends(pieces[piece], folded, at):
            place = pieces[piece].place
            if place and not accept(place, name[at:end]):
                continue
            if (found := walk(piece + 1, end)) is not None:
                return {place: name[at:end], **found} if place else found
        failed.add((piece, at))
        return None

    return walk(0, 0)


def _ends(piece: _Piece, folded: str, at: int) -> range:
    """Where the text that a piece stands for may end, if it begins at `at`."""
    if piece.place is None:
        end = at + len(piece.text)
        return range(end, end + 1) if folded.startswith(piece.text, at) else range(0)
    return range(at + 1 if piece.place else at, len(folded) + 1)


def accept_known(words: Mapping[str, Callable[[str], bool]]) -> Accept:
    """Accepts what the place's own rule allows, and anything for a place without a rule."""
    return lambda place, value: place not in words or words[place](value)
