"""SHA-256 lists of whole folders, in the form of `sha256sum`, and what differs from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from glaucoma.errors import IntegrityError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import file_sha256

_LINE = re.compile(r"^([0-9a-f]{64})  (.+)$")


@dataclass(frozen=True)
class Differences:
    """How folders differ from their list; paths are relative to the workspace.

    Attributes:
        checked: Number of files on the list.
        changed: Files whose bytes differ.
        missing: Files that are on the list and not there.
        extra: Files that are there and not on the list.
    """

    checked: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def none(self) -> bool:
        return not (self.changed or self.missing or self.extra)

    def __str__(self) -> str:
        parts = (("changed", self.changed), ("missing", self.missing), ("not on the list", self.extra))
        return "; ".join(f"{what}: {_listed(paths)}" for what, paths in parts if paths) or "no difference"


def _listed(paths: tuple[str, ...], shown: int = 20) -> str:
    more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(paths[:shown]) + more


def part_of(report: Progress, start: float, length: float) -> Progress:
    """A reporter whose 0 to 1 is a part of `report`'s."""
    return lambda share, line: report(start + length * share, line)


def sum_folder(folder: Path, root: Path, *, report: Progress = silent) -> dict[str, str]:
    """SHA-256 by path relative to `root`, for every file in `folder`, sorted by path."""
    from glaucoma.datasets.imagefile import ordered_map  # imports OpenCV, for every flow that reads a list

    files = _files(folder)
    sums: dict[str, str] = {}
    for path, value in zip(files, ordered_map(file_sha256, files), strict=True):
        sums[path.relative_to(root).as_posix()] = value
        report(len(sums) / len(files), f"hashed {len(sums)} of {len(files)} files")
    return sums


def format_sums(sums: dict[str, str]) -> bytes:
    """The list as text: `sha256sum --check` reads it in the workspace's folder."""
    return "".join(f"{value}  {path}\n" for path, value in sorted(sums.items())).encode()


def parse_sums(path: Path, inside: str) -> dict[str, str]:
    """The list at `path`, whose files all lie in the folder `inside`, relative to the workspace.

    Raises:
        IntegrityError: It is missing, no list of sums, or speaks of files elsewhere.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"The list of sums {path} cannot be read ({error})") from error
    matches = [_LINE.match(line) for line in lines]
    if not matches or None in matches:
        raise IntegrityError(f"{path} is no list of SHA-256 sums", remedy="register the dataset again")
    sums = {match[2]: match[1] for match in matches if match is not None}
    for file in sums:
        parts = file.split("/")
        if not file.startswith(f"{inside}/") or "" in parts or "." in parts or ".." in parts or "\0" in file:
            raise IntegrityError(f"{path} lists {file!r}, which is no file in {inside}")
    return sums


def compare_folder(folder: Path, root: Path, sums: dict[str, str], *, report: Progress = silent) -> Differences:
    """How the files in `folder` differ from `sums`, each read once."""
    return compare_sums(sums, sum_folder(folder, root, report=report) if folder.is_dir() else {})


def compare_sums(sums: dict[str, str], there: dict[str, str]) -> Differences:
    """How `there` differs from the list `sums`."""
    return Differences(
        checked=len(sums),
        changed=tuple(sorted(path for path in sums.keys() & there.keys() if sums[path] != there[path])),
        missing=tuple(sorted(sums.keys() - there.keys())),
        extra=tuple(sorted(there.keys() - sums.keys())),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
