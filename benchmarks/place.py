"""The temporary folder of a run, and the generated dataset in it; each is made when it is first asked for."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.provenance import StageOutput
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.workspace import Workspace

PHOTO_HEIGHT_PX = 2056
"""REFUGE's: 2124 x 2056 and 1634 x 1634 pixels, half of each."""
NAME = "generated"


@dataclass
class Place:
    """A folder, and how many photographs the data hold.

    Attributes:
        clock: For those who time themselves: seconds that pass, or those of the processor.
    """

    root: Path
    images: int
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace.at(self.root / "workspace")

    @cached_property
    def archive(self) -> Path:
        settings = SyntheticSettings(patients=self.images // 2, photo_height_px=PHOTO_HEIGHT_PX, seed=self.seed)
        return generate_archive(self.root / "generated.zip", settings, threads=2).path

    @cached_property
    def unpacked(self) -> StageOutput:
        return unpack(self.archive, self.workspace)

    @cached_property
    def dataset(self) -> StageOutput:
        return normalize(self.unpacked, NAME, self.workspace)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The manifest's rows."""
        from glaucoma.datasets.manifest import read_manifest

        manifest = read_manifest(self.dataset.folder)
        rows: list[dict[str, Any]] = json.loads(manifest.to_json(orient="records"))
        return rows

    @property
    def files(self) -> list[Path]:
        """The dataset's photographs and masks."""
        names = [str(row[key]) for row in self.rows for key in ("image", "mask") if row[key]]
        return [self.dataset.folder / name for name in names]

    def empty(self, name: str) -> Path:
        """A new empty folder of that name, whatever was there."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder
