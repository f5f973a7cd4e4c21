"""What an outside program writes to its pipe, taken apart into files and held against the list."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from glaucoma.archives.child import Child
from glaucoma.archives.limits import Budget
from glaucoma.archives.listing import Listed
from glaucoma.archives.programs import Program, failed
from glaucoma.archives.refusals import damaged
from glaucoma.archives.tar_reader import TarMembers
from glaucoma.errors import ArchiveError

_PIECE_BYTES = 1 << 20


class Pipe:
    """The output of a running program that unpacks the archive called `label`, of `packed_bytes` bytes."""

    def __init__(self, child: Child, program: Program, label: str, packed_bytes: int, budget: Budget) -> None:
        self._child = child
        self._program = program
        self._label = label
        self._packed_bytes = packed_bytes
        self._budget = budget

    def cut(self, files: list[Listed]) -> Iterator[Iterator[bytes]]:
        """Bare contents, one behind the other, cut at the listed sizes."""
        for one in files:
            yield self._pieces(one.size)

    def _pieces(self, size: int) -> Iterator[bytes]:
        left = size
        while left and (piece := self._child.output.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece

    def out_of_tar(self) -> Iterator[Iterator[bytes]]:
        """The contents of the files of the tar archive that the program makes."""
        members = TarMembers(self._child.output, self._label, self._packed_bytes, self._budget, lambda: 0.0)
        try:
            for member in members:
                if member.chunks is not None:
                    yield member.chunks
        except ArchiveError:
            self._raise_if_failed()
            raise

    def checked(self, chunks: Iterator[bytes], one: Listed) -> Iterator[bytes]:
        """`chunks`, of which the length and the checksum must be those of the list."""
        size = crc = 0
        for chunk in chunks:
            size += len(chunk)
            if size > one.size:
                raise damaged(self._label, f"it is larger than the {one.size} bytes that it states", one.name)
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if size < one.size:
            self._raise_if_failed()
            raise damaged(self._label, f"it ends {one.size - size} bytes before the end of a file", one.name)
        if one.crc is not None and crc != one.crc:
            raise damaged(self._label, "its checksum (CRC) is wrong", one.name)

    def check_end(self, contents: Iterator[Iterator[bytes]]) -> None:
        """Nothing may follow the last file, and the program must be content."""
        if next(contents, None) is not None or self._child.output.read(1):
            raise damaged(self._label, f"{self._program.name} unpacks more from it than its list says")
        self._raise_if_failed()

    def _raise_if_failed(self) -> None:
        if self._child.output.read(1):
            return  # it still writes, and would wait for ever to be read
        code, told = self._child.finish(), self._child.told
        if code != 0 or (told and not self._program.is_seven_zip):
            raise failed(self._label, self._program, told, timed_out=self._child.timed_out, budget=self._budget)
