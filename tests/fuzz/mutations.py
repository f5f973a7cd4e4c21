"""Ways to damage bytes, all drawn from one generator, so that a seed and a number name one input for ever."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

_INTERESTING = (0, 1, 2, 7, 8, *(2**power - less for power in (7, 8, 15, 16, 31, 32) for less in (0, 1)))
_SIGNATURES = (
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"ustar"),
    *(b"\xff\xc0", b"\xff\xda", b"\xff\xe1", b"IHDR", b"IDAT", b"PLTE", b"BM", b"II*\x00", b"GIF8"),
)


def mutated(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """`content` after one to six changes; pieces of `others` may be spliced in."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not changed:
            break
        rng.choice(_CHANGES)(changed, others, rng)
    return bytes(changed)


def _place(content: bytearray, rng: random.Random) -> int:
    """Half of the time near a signature, where the fields are."""
    if rng.random() < 0.5:
        found = content.find(rng.choice(_SIGNATURES), rng.randrange(len(content)))
        if found >= 0:
            return min(len(content) - 1, found + rng.randrange(48))
    return rng.randrange(len(content))


def _flip(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _byte(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    content[_place(content, rng)] = rng.randrange(256)


def _number(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at, form = _place(content, rng), rng.choice(["<B", "<H", ">H", "<L", ">L", "<Q"])
    length = struct.calcsize(form)
    value = rng.choice(_INTERESTING) & (256**length - 1)
    content[at : at + length] = struct.pack(form, value)


def _truncate(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _remove(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at = _place(content, rng)
    del content[at : at + rng.choice((1, 2, 4, 16, 512, 5000))]


def _repeat(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(content))
    piece = content[at : at + rng.choice((1, 30, 46, 512, 1024))]
    content[at:at] = piece * rng.choice((1, 1, 2, 5))


def _splice(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other))
    at = rng.randrange(len(content))
    content[at : at + rng.choice((0, 16, 512))] = other[start : start + rng.choice((16, 100, 512, 4000))]


def _zeros(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at = _place(content, rng)
    end = min(len(content), at + rng.choice((1, 4, 16, 512, 1024)))
    content[at:end] = bytes([rng.choice((0, 0, 0xFF))]) * (end - at)


def _append(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    content += rng.choice((bytes(512), rng.choice(others), rng.randbytes(40)))


def _prepend(content: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    content[0:0] = rng.choice((bytes(512), rng.choice(others), rng.randbytes(40)))


_CHANGES = (
    *(_flip, _flip, _flip, _byte, _number, _number, _number),
    *(_truncate, _remove, _repeat, _splice, _zeros, _append, _prepend),
)
