"""What tells a photograph from others: the hashes of its bytes and pixels, and how it looks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glaucoma.datasets.imagefile import read_photograph
from glaucoma.datasets.perceptual import perceptual_hashes


@dataclass(frozen=True)
class Fingerprint:
    """The hashes of a photograph.

    Args:
        width: In pixels, as people see it.
        height: Likewise.
        sha256: Of the bytes.
        pixel_sha256: Of the decoded RGB pixels and their shape.
        perceptual_hash: 256 bits as 64 hexadecimal digits, of the field of view.
        mirrored_hash: The same of the mirror image.
    """

    width: int
    height: int
    sha256: str
    pixel_sha256: str
    perceptual_hash: str
    mirrored_hash: str


def fingerprint(path: Path) -> Fingerprint:
    """Decodes the photograph at `path` once and takes its fingerprint.

    Raises:
        UnreadableImageError: No image, or one that was cut short.
    """
    found = read_photograph(path)
    pixels = found.pixels
    height, width = pixels.shape[:2]
    hasher = hashlib.sha256(repr(pixels.shape).encode())
    hasher.update(np.ascontiguousarray(pixels).data)
    return Fingerprint(width, height, found.sha256, hasher.hexdigest(), *perceptual_hashes(pixels))
