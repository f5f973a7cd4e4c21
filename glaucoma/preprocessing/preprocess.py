"""Preprocessing: a dataset's photographs as square pictures of one size, once as PNG and once packed for training."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glaucoma.datasets.imagefile import ordered_map
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest, write_manifest
from glaucoma.errors import DatasetError
from glaucoma.preprocessing.packed import PackedWriter
from glaucoma.preprocessing.prepare import Prepared, SetAside, Source, prepare_one
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.progress import Progress, silent
from glaucoma.provenance import (
    Built,
    StageOutput,
    StageRecord,
    file_sha256,
    read_record,
    require_disk_space,
    run_stage,
)
from glaucoma.schema import Column, GeometryColumn
from glaucoma.workspace import Workspace

RECORD_NAME = "prepared.json"
IMAGES_NAME = "images.npy"
MASKS_NAME = "masks.npy"
FIELDS_NAME = "fields.npy"

_LISTED = 20
_CUT_SHARE = 0.001
"""A disc that lost more than this share of its pixels to the crop is named in the record."""


def preprocess(
    dataset: Path,
    name: str,
    workspace: Workspace,
    settings: PreprocessSettings,
    *,
    report: Progress = silent,
    workers: int | None = None,
) -> StageOutput:
    """The prepared form of the dataset in the folder `dataset`, at `workspace.prepared(name)/<key>`.

    Writes `images/<id>.png`, `masks/<id>.png` where there is a mask, `images.npy` (n, S, S, 3) RGB, `masks.npy` and
    `fields.npy` (n, S, S), all uint8 and in the manifest's row order, `manifest.csv` with the geometry, and
    `prepared.json`.

    Args:
        workers: Threads; None for as many as there are cores. Changes no byte of the output.

    Raises:
        DatasetError: More images had to be set aside than `max_set_aside_share` allows, or a class vanished from a
            split.
        DiskSpaceError: Too little space for the output; nothing was written.
    """
    manifest = read_manifest(dataset)
    source = read_record(dataset / "dataset.json")
    return run_stage(
        stage="preprocess",
        workspace=workspace,
        parent=workspace.prepared(name),
        record_name=RECORD_NAME,
        inputs={"dataset": source.key, "manifest_sha256": file_sha256(dataset / MANIFEST_NAME)},
        settings=settings,
        module=__name__,
        build=partial(_build, dataset, name, source, manifest, settings, report, workers),
    )


@dataclass
class _Tally:
    """What the run over the images gathers besides their pixels."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    set_aside: list[dict[str, str]] = field(default_factory=list)
    disc_cut: list[dict[str, Any]] = field(default_factory=list)
    round_fields: int = 0


def _build(
    dataset: Path,
    name: str,
    source: StageRecord,
    manifest: pd.DataFrame,
    settings: PreprocessSettings,
    report: Progress,
    workers: int | None,
    staging: Path,
) -> Built:
    require_disk_space(staging, len(manifest) * settings.image_size_px**2 * 7, f"{len(manifest)} prepared images")
    tally = _write_images(dataset, manifest, settings, report, workers, staging)
    _check_kept(manifest, tally, settings)
    prepared = pd.DataFrame(tally.rows)
    write_manifest(staging / MANIFEST_NAME, prepared)
    counts = {
        "images": len(prepared),
        "with_mask": int((prepared[Column.MASK] != "").sum()),
        "set_aside": len(tally.set_aside),
        "round_fields": tally.round_fields,
        "disc_cut": len(tally.disc_cut),
    }
    details = {
        "name": name,
        "dataset_key": source.key,
        "dataset_details": {**source.counts, **{k: source.details.get(k) for k in ("layout", "grouping")}},
        "image_size_px": settings.image_size_px,
        "set_aside": tally.set_aside,
        "disc_cut": tally.disc_cut[:_LISTED],
        "counts_by_split": _counts_by_split(prepared),
        "synthetic": bool(source.details.get("synthetic", False)),
    }
    return Built(counts=counts, details=details)


def _write_images(
    dataset: Path,
    manifest: pd.DataFrame,
    settings: PreprocessSettings,
    report: Progress,
    workers: int | None,
    staging: Path,
) -> _Tally:
    """Prepares all images and writes pictures and packed arrays, one image at a time."""
    (staging / "images").mkdir()
    (staging / "masks").mkdir()
    tally, total, size = _Tally(), len(manifest), settings.image_size_px
    records = [{str(k): v for k, v in row.items()} for row in manifest.to_dict("records")]
    sources = [_source(dataset, row) for row in records]
    allowed = settings.max_set_aside_share * total
    with contextlib.ExitStack() as stack:
        packed = {
            file: stack.enter_context(PackedWriter(staging / file, shape, rows_at_most=total))
            for file, shape in ((IMAGES_NAME, (size, size, 3)), (MASKS_NAME, (size, size)), (FIELDS_NAME, (size, size)))
        }
        results = stack.enter_context(
            contextlib.closing(ordered_map(lambda one: prepare_one(one, settings), sources, workers=workers))
        )
        for done, (row, result) in enumerate(zip(records, results, strict=True), start=1):
            if isinstance(result, SetAside):
                tally.set_aside.append({"image_id": str(row[Column.IMAGE_ID]), "reason": result.reason})
                if len(tally.set_aside) > allowed:
                    _refuse(tally, done, total, settings)
            else:
                _keep(row, result, packed, tally, staging)
            report(done / total, f"prepared {done} of {total} images")
    return tally


def _source(dataset: Path, row: dict[str, Any]) -> Source:
    mask = str(row[Column.MASK])
    return Source(
        image_id=str(row[Column.IMAGE_ID]),
        image=dataset / str(row[Column.IMAGE]),
        sha256=str(row[Column.SHA256]),
        mask=dataset / mask if mask else None,
    )


def _keep(row: dict[str, Any], one: Prepared, packed: dict[str, PackedWriter], tally: _Tally, staging: Path) -> None:
    """Writes one prepared image and notes its row."""
    image_id, size = str(row[Column.IMAGE_ID]), one.picture.shape[0]
    image, mask = f"images/{image_id}.png", f"masks/{image_id}.png" if one.mask_png is not None else ""
    (staging / image).write_bytes(one.picture_png)
    if one.mask_png is not None:
        (staging / mask).write_bytes(one.mask_png)
    packed[IMAGES_NAME].append(one.picture)
    packed[MASKS_NAME].append(one.mask if one.mask is not None else np.zeros((size, size), np.uint8))
    packed[FIELDS_NAME].append(one.inside)
    tally.round_fields += one.round_field
    if one.disc_lost_share is not None and one.disc_lost_share > _CUT_SHARE:
        tally.disc_cut.append({"image_id": image_id, "share_lost": round(one.disc_lost_share, 4)})
    place = one.geometry
    tally.rows.append(
        {
            **row,
            Column.IMAGE: image,
            Column.MASK: mask,
            Column.WIDTH: size,
            Column.HEIGHT: size,
            GeometryColumn.CROP_X_PX: float(place.x_px),
            GeometryColumn.CROP_Y_PX: float(place.y_px),
            GeometryColumn.CROP_WIDTH_PX: float(place.side_px),
            GeometryColumn.CROP_HEIGHT_PX: float(place.side_px),
            GeometryColumn.SCALE_X: place.scale,
            GeometryColumn.SCALE_Y: place.scale,
        }
    )


def _refuse(tally: _Tally, done: int, total: int, settings: PreprocessSettings) -> None:
    shown = "; ".join(f"{one['image_id']}: {one['reason']}" for one in tally.set_aside[:5])
    raise DatasetError(
        f"{len(tally.set_aside)} of the first {done} images (of {total}) cannot be prepared, for example {shown}",
        expected=f"at most {settings.max_set_aside_share:.0%} of the images set aside",
        consequence="No prepared dataset was written",
        remedy="look at the images named, or raise preprocess.max_set_aside_share",
    )


def _check_kept(manifest: pd.DataFrame, tally: _Tally, settings: PreprocessSettings) -> None:
    """Setting images aside may not leave a split without a class that it had."""
    if not tally.rows:
        _refuse(tally, len(manifest), len(manifest), settings)
    before = set(zip(manifest[Column.SPLIT], manifest[Column.LABEL], strict=True))
    lost = before - {(row[Column.SPLIT], row[Column.LABEL]) for row in tally.rows}
    if lost:
        gone = " and no ".join(sorted(f"{label} in {split}" for split, label in lost))
        raise DatasetError(
            f"Setting {len(tally.set_aside)} unusable images aside left no {gone}",
            expected="every class that a split had to remain in it",
            consequence="No prepared dataset was written",
            remedy="; ".join(f"{one['image_id']}: {one['reason']}" for one in tally.set_aside[:5]),
        )


def _counts_by_split(prepared: pd.DataFrame) -> dict[str, dict[str, int]]:
    pairs = Counter(zip(prepared[Column.SPLIT], prepared[Column.LABEL], strict=True))
    counts: dict[str, dict[str, int]] = {}
    for (split, label), number in sorted(pairs.items()):
        counts.setdefault(str(split), {})[str(label)] = number
    return counts
