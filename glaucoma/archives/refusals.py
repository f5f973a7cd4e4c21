"""Why an archive is refused, said the same way by every reader: the archive, the member's name, the reason, the remedy.

`label` is how an archive is called in a message: its path, or for one inside another `outer.zip > folder/inner.zip`.
"""

from __future__ import annotations

from glaucoma.errors import ArchiveError

_NOTHING_KEPT = "Nothing of the archive was kept"
_SHOWN_CHARACTERS = 120


def shown(name: str) -> str:
    """A member's name in quotes, cut where it is long, and escaped so that it cannot disturb a terminal."""
    cut = name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 3] + "..."
    return ascii(cut)


def unsafe(name: str, problem: str) -> ArchiveError:
    """The refusal of a member for what it is or is called."""
    return ArchiveError(
        f"The archive's member {shown(name)} {problem}",
        expected="regular files and folders with plain relative names",
        consequence=_NOTHING_KEPT,
        remedy="make the archive again from the original files, or ask its source for a sound one",
    )


def damaged(label: str, what: str, member: str | None = None) -> ArchiveError:
    """The refusal of an archive whose bytes do not hold together, with the member where it was seen."""
    at = f" (at its member {shown(member)})" if member is not None else ""
    return ArchiveError(
        f"{label} is damaged or was cut short: {what}{at}",
        expected="a complete archive",
        consequence=_NOTHING_KEPT,
        remedy="fetch the archive again and compare its size or checksum with the source's",
    )


def over_limit(label: str, found: str, setting: str, limit: float) -> ArchiveError:
    """The refusal of an archive that goes over a limit of the settings."""
    return ArchiveError(
        f"{label} holds {found}",
        expected=f"at most {setting} = {limit:.12g}",
        consequence=_NOTHING_KEPT,
        remedy=f"if the archive is known to be good, raise unpack.{setting}",
    )


def encrypted(label: str, member: str | None = None) -> ArchiveError:
    """The refusal of an archive that asks for a password, for one member or (None) for its table of contents."""
    which = f"its member {shown(member)}" if member is not None else "its table of contents"
    return ArchiveError(
        f"{label} is encrypted ({which} asks for a password)",
        expected="an archive without a password",
        consequence="Nothing was unpacked",
        remedy="unpack it with its password and pack the files again without one",
    )


def unsupported(label: str, what: str, member: str) -> ArchiveError:
    """The refusal of a sound archive that uses what is not read here."""
    return ArchiveError(
        f"{label} uses a form that is not read here: its member {shown(member)} {what}",
        expected="members that are stored, or compressed with deflate, bzip2 or LZMA",
        consequence="Nothing was unpacked",
        remedy="unpack it with its own program and pack the files as zip or tar",
    )
