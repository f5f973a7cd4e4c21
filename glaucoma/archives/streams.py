"""A compressed stream read forwards: in bounded memory, to its very end, with nothing hidden behind it.

The standard library's file objects (`GzipFile`, `BZ2File`, `LZMAFile`) pass over what follows a stream, and take any
window that an archive asks for. These do neither.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import IO, Any

_READ_BYTES = 1 << 16
_ZSTD_PIECE_BYTES = 1 << 10
"""Fed at once to Zstandard, which has no bound for its output: a thousand bytes become 32 MiB at the very most."""
_MOST_MEMORY_BYTES = 1 << 28
"""256 MiB: `xz -9` needs 65 MiB; a stream may ask for 4 GiB."""
_MOST_ZSTD_WINDOW_BYTES = 1 << 27
"""128 MiB: what the program `zstd` takes too, unless it is told otherwise."""


class Compression(StrEnum):
    """What lies around a tar archive."""

    NONE = ""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstandard"


class BrokenStreamError(Exception):
    """The compressed bytes end early, do not hold together, or have something else behind them."""


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Zstandard:
    def __init__(self) -> None:
        import zstandard

        self._inner: Any = zstandard.ZstdDecompressor(max_window_size=_MOST_ZSTD_WINDOW_BYTES).decompressobj()
        self._error: type[Exception] = zstandard.ZstdError
        self._in, self._in_at = b"", 0
        self._out, self._out_at = b"", 0

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof) and self._out_at == len(self._out)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._in[self._in_at :]

    @property
    def needs_input(self) -> bool:
        return self._in_at == len(self._in) and self._out_at == len(self._out)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._in, self._in_at = data, 0
        while self._out_at == len(self._out) and self._in_at < len(self._in) and not self._inner.eof:
            piece = self._in[self._in_at : self._in_at + _ZSTD_PIECE_BYTES]
            self._in_at += len(piece)
            try:
                self._out, self._out_at = self._inner.decompress(piece), 0
            except self._error as error:
                raise BrokenStreamError(str(error)) from error
        given = self._out[self._out_at : self._out_at + max_length]
        self._out_at += len(given)
        return given


_FRAMES: dict[Compression, Callable[[], Any]] = {
    Compression.GZIP: _Gzip,
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY_BYTES),
    Compression.ZSTD: _Zstandard,
}


class _Decompressed(io.RawIOBase):
    """The decompressed bytes of `raw`, stream after stream; zeros may stand behind each, nothing else."""

    def __init__(self, raw: IO[bytes], compression: Compression) -> None:
        self._raw = raw
        self._new = _FRAMES[compression]
        self._frame: Any = self._new()
        self._begun = False
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")
        try:
            given = self._some(len(wanted))
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise BrokenStreamError(str(error) or "its data cannot be decompressed") from error
        wanted[: len(given)] = given
        return len(given)

    def _some(self, most: int) -> bytes:
        while True:
            if self._frame.eof and not self._next_frame():
                return b""
            data = b""
            if self._frame.needs_input:
                data, self._rest = self._rest or self._raw.read(_READ_BYTES), b""
                if not data:
                    if self._begun:
                        raise BrokenStreamError("its compressed data end early")
                    return b""
                self._begun = True
            if given := self._frame.decompress(data, most):
                return bytes(given)

    def _next_frame(self) -> bool:
        """Starts on the stream behind the one that has ended; False where none follows."""
        rest = self._frame.unused_data or self._raw.read(_READ_BYTES)
        while rest and not (rest := rest.lstrip(b"\0")):
            rest = self._raw.read(_READ_BYTES)
        if not rest:
            return False
        self._frame, self._begun, self._rest = self._new(), False, rest
        return True


def decompressed(raw: IO[bytes], compression: Compression) -> IO[bytes]:
    """The bytes in `raw`, decompressed while they are read forwards; closing it leaves `raw` open.

    Reading raises `BrokenStreamError` where the compressed data do not hold together or need more than 256 MiB.
    """
    if compression is Compression.NONE:
        return raw
    return io.BufferedReader(_Decompressed(raw, compression), _READ_BYTES)
