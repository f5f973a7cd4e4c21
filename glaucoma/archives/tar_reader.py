"""The members of a tar archive, one after the other, in a single pass over its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

from glaucoma.archives.limits import Budget
from glaucoma.archives.members import Member
from glaucoma.archives.names import safe_path
from glaucoma.archives.refusals import damaged, over_limit, shown, unsafe
from glaucoma.archives.streams import BrokenStreamError
from glaucoma.archives.tar_headers import (
    TAR_BLOCK,
    TarHeader,
    apply_pax,
    check_global_pax,
    parse_header,
    parse_pax,
)

_HEADER_BYTES = 64 * 1024
"""Most that a long name or a pax header may have: one of a gigabyte would be read into memory whole."""
_PIECE_BYTES = 1 << 20
_FILES = (b"0", b"\0", b"7")
_FOLDER = b"5"
_LONG_NAME, _LONG_LINK = b"L", b"K"
_PAX, _PAX_GLOBAL = (b"x", b"X"), b"g"
_VOLUME_LABEL = b"V"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device or another special file",
    b"4": "a device or another special file",
    b"6": "a named pipe or another special file",
    b"S": "a sparse file",
    b"M": "the rest of a file from another volume",
    b"D": "a list of files of an incremental backup",
}


class TarMembers:
    """Reads tar headers and data from a stream.

    Args:
        stream: The archive's bytes, already decompressed, read forwards only.
        packed_bytes: Size of the archive on disk, against which the stream's length is held.
        position: Share of the archive that was read, 0 to 1.
    """

    def __init__(
        self, stream: IO[bytes], label: str, packed_bytes: int, budget: Budget, position: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._label = label
        self._packed_bytes = packed_bytes
        self._budget = budget
        self._position = position
        self._read_bytes = 0
        self._last_name = ""

    def __iter__(self) -> Iterator[Member]:
        while (header := self._next_header()) is not None:
            self._last_name = header.name
            path = safe_path(header.name, max_depth=self._budget.settings.max_depth)
            if self._is_folder(header):
                yield Member(path, None, self._position())
                continue
            self._check_file(header)
            chunks = self._data(header.size, header.name)
            yield Member(path, chunks, self._position())
            for _ in chunks:  # whatever the consumer has left
                pass
        self._check_end()

    def _is_folder(self, header: TarHeader) -> bool:
        if header.kind != _FOLDER and not (header.kind in _FILES and header.name.endswith("/")):
            return False
        if header.size:
            raise unsafe(header.name, f"is a folder that holds {header.size} bytes itself")
        return True

    def _check_file(self, header: TarHeader) -> None:
        if header.kind not in _FILES:
            kind = _KINDS.get(header.kind, f"of an unknown kind {header.kind!r}")
            to = f" to {shown(header.link)}" if header.kind in (b"1", b"2") else ""
            raise unsafe(header.name, f"is {kind}{to}")
        settings = self._budget.settings
        if header.size > settings.max_file_bytes:
            found = f"{shown(header.name)} of {header.size} bytes"
            raise over_limit(self._label, found, "max_file_bytes", settings.max_file_bytes)

    def _next_header(self) -> TarHeader | None:
        """The next member's header with its long name or pax records; None at the end marker."""
        long_name = long_link = ""
        pax: dict[str, str] | None = None
        while True:
            block = self._take(TAR_BLOCK)
            if len(block) < TAR_BLOCK:
                raise damaged(self._label, "the end marker is missing", self._last_name or None)
            if not block.strip(b"\0"):
                if long_name or long_link or pax is not None:
                    raise damaged(self._label, "a header for a member stands at its end, where no member follows")
                return None
            header = parse_header(block, self._label, self._last_name)
            self._budget.check_time(header.name)
            if header.kind in (_LONG_NAME, _LONG_LINK):
                if (long_name and header.kind == _LONG_NAME) or (long_link and header.kind == _LONG_LINK):
                    raise damaged(self._label, "a member has two long names", self._last_name or None)
                text = self._header_data(header).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                long_name, long_link = (text, long_link) if header.kind == _LONG_NAME else (long_name, text)
            elif header.kind in _PAX:
                if pax is not None:
                    raise damaged(self._label, "a member has two pax headers", self._last_name or None)
                pax = parse_pax(self._header_data(header), self._label, self._last_name)
            elif header.kind == _PAX_GLOBAL:
                check_global_pax(parse_pax(self._header_data(header), self._label, self._last_name), self._label)
            elif header.kind != _VOLUME_LABEL or header.size:
                return self._named(header, long_name, long_link, pax)

    def _named(self, header: TarHeader, long_name: str, long_link: str, pax: dict[str, str] | None) -> TarHeader:
        if long_name and pax and pax.get("path", long_name) != long_name:
            raise unsafe(long_name, f"has another name in its pax header: {shown(pax['path'])}")
        named = TarHeader(long_name or header.name, long_link or header.link, header.size, header.kind)
        return apply_pax(named, pax, self._label) if pax else named

    def _header_data(self, header: TarHeader) -> bytes:
        if header.size > _HEADER_BYTES:
            raise damaged(self._label, f"a header of {header.size} bytes", header.name)
        return b"".join(self._data(header.size, header.name))

    def _data(self, size: int, name: str) -> Iterator[bytes]:
        left = size
        while left:
            wanted = min(_PIECE_BYTES, left)
            chunk = self._take(wanted)
            left -= len(chunk)
            if len(chunk) < wanted:
                raise damaged(self._label, f"it ends {left} bytes before the end of a file", name)
            yield chunk
        padding = -size % TAR_BLOCK
        if len(self._take(padding)) < padding:
            raise damaged(self._label, "it ends before the end marker", name)

    def _take(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer only at the end of the stream."""
        try:
            chunk = self._stream.read(count)
        except BrokenStreamError as error:
            raise damaged(self._label, str(error), self._last_name or None) from error
        self._read_bytes += len(chunk)
        self._budget.check_stream(self._read_bytes, self._packed_bytes, self._label)
        return chunk

    def _check_end(self) -> None:
        """A tar archive ends with a block of zeros, and nothing but zeros follows."""
        while rest := self._take(_PIECE_BYTES):
            if rest.strip(b"\0"):
                raise damaged(self._label, "more data follows its end marker", self._last_name or None)
            self._budget.check_time(self._last_name)
