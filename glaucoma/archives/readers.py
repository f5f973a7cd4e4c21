"""The members of an archive, whatever its format: in order, in a single pass, checked before a byte is given out.

The standard library's `extract*` are never called: their filters let duplicates, links inside the tree and bombs
through, and some of their versions write outside the destination.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from glaucoma.archives.formats import ArchiveFormat, Kind
from glaucoma.archives.limits import Budget
from glaucoma.archives.members import Members
from glaucoma.archives.outside import open_rar, open_seven_zip
from glaucoma.archives.streams import Compression, decompressed
from glaucoma.archives.tar_reader import TarMembers
from glaucoma.archives.zip_reader import open_zip


@contextlib.contextmanager
def open_members(archive: Path, label: str, kind: Kind, budget: Budget) -> Iterator[Members]:
    """The members of `archive`; the table of contents of a zip, 7z or RAR is checked whole before the first of them.

    Raises:
        ArchiveError: Here or while iterating: damaged, cut short, encrypted, over a limit, or a member that is no
            regular file or folder or has an unsafe name.
    """
    if kind.format is ArchiveFormat.SEVEN_ZIP:
        with open_seven_zip(archive, label, budget) as members:
            yield members
    elif kind.format is ArchiveFormat.RAR:
        with open_rar(archive, label, budget) as members:
            yield members
    else:
        with archive.open("rb") as raw:
            if kind.format is ArchiveFormat.ZIP:
                yield open_zip(raw, label, budget)
            else:
                yield _open_tar(raw, label, kind.compression, budget)


def _open_tar(raw: IO[bytes], label: str, compression: Compression, budget: Budget) -> Members:
    size = raw.seek(0, 2)
    raw.seek(0)
    stream = decompressed(raw, compression)
    each = iter(TarMembers(stream, label, size, budget, lambda: raw.tell() / size))
    return Members(size if compression is Compression.NONE else 0, each)
