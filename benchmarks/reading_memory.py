"""A child process of the memory benchmark: makes many tiny photographs, or validates them.

`python -m benchmarks.reading_memory generate FOLDER IMAGES SIDE_PX` or `validate FOLDER WORKSPACE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import preparing_memory
from benchmarks.memory import report_peak
from glaucoma.datasets.manifest import read_manifest, write_manifest
from glaucoma.datasets.validate import validate
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.provenance import digest
from glaucoma.schema import Column
from glaucoma.workspace import Workspace


def generate(folder: Path, images: int, side_px: int) -> None:
    """A dataset folder of so many photographs with masks, each with hashes of its own, for the search for leaks."""
    preparing_memory.generate(folder, images, side_px)
    manifest = read_manifest(folder)
    for column in (Column.PIXEL_SHA256, Column.PERCEPTUAL_HASH):
        manifest[column.value] = [digest([column.value, image_id]) for image_id in manifest[Column.IMAGE_ID]]
    write_manifest(folder, manifest)


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        validate(Path(sys.argv[2]), "tiny", Workspace(Path(sys.argv[3])), ValidateSettings(), workers=2)
    report_peak()
