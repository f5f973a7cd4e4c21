"""Settings of the unpack stage: how much an archive may hold before it is refused."""

from __future__ import annotations

from pydantic import Field

from glaucoma.settings import Settings


class UnpackSettings(Settings):
    """Limits on an archive. An archive over one of them is refused whole; nothing of it is kept."""

    max_total_bytes: int = Field(
        default=10 * 10**9,
        ge=1,
        le=10 * 10**12,
        description="Most bytes that all unpacked files may have together, archives inside the archive and what they "
        "hold included. Raise it for a larger dataset.",
    )
    max_file_bytes: int = Field(
        default=2 * 10**9, ge=1, le=10**12, description="Most bytes that one unpacked file may have."
    )
    max_files: int = Field(
        default=200_000,
        ge=1,
        le=10_000_000,
        description="Most files and folders that the archive may hold, those of archives inside it included.",
    )
    max_ratio: float = Field(
        default=1000.0,
        ge=1,
        le=100_000,
        description="Most bytes that one compressed byte may become, for each file and for the archive as a whole; "
        "more is taken for a decompression bomb.",
    )
    ratio_floor_bytes: int = Field(
        default=10_000_000,
        ge=0,
        le=10**12,
        description="Up to this size the ratio is not asked for: a small blank mask compresses well and harms nobody.",
    )
    max_depth: int = Field(default=32, ge=1, le=128, description="Most folders that may stand inside one another.")
    max_nesting: int = Field(
        default=2,
        ge=0,
        le=8,
        description="How deep archives inside the archive are unpacked: 0 refuses any, 2 lets one stand in another "
        "that stands in the archive. A deeper one is refused.",
    )
    max_seconds: float = Field(
        default=3 * 3600.0, gt=0, le=7 * 24 * 3600, description="Most seconds that unpacking may take, all in all."
    )
