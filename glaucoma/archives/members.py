"""What every reader gives: an archive's members in order, each checked before a byte of it is given out."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of an archive, or a folder (without `chunks`).

    Args:
        path: Safe relative path.
        chunks: The file's bytes in pieces; only good until the next member is asked for, and only trusted once the
            last piece was taken: a wrong checksum or length raises `ArchiveError` there at the latest.
        position: Share of the archive that lies before this member, 0 to 1.
    """

    path: PurePosixPath
    chunks: Iterator[bytes] | None
    position: float


@dataclass(frozen=True)
class Members:
    """What an archive holds: bytes that it says it will take on disk (0: it does not say), and the members in order."""

    stated_bytes: int
    each: Iterator[Member]


def kind_by_mode(mode: int) -> str:
    """What a Unix mode of no regular file and no folder stands for."""
    return {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}.get(
        stat.S_IFMT(mode), "a device or another special file"
    )
