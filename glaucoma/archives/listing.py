"""The table of contents of an archive that an outside program unpacks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """One file or folder.

    Args:
        crc: CRC-32 of its bytes; None where the table does not give one.
        packed: Bytes that it takes in the archive; None where it shares them with others.
    """

    name: str
    size: int
    crc: int | None
    is_folder: bool
    packed: int | None = None
