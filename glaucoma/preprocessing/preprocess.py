"""Preprocessing: a dataset's photographs as square pictures of one size, once as PNG and once packed for training."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pandas as pd

from glaucoma.datasets.imagefile import ordered_map
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest, write_manifest
from glaucoma.errors import DatasetError, SettingsError
from glaucoma.preprocessing.disc import DiscModel
from glaucoma.preprocessing.prepare import SetAside, Source, prepare_one
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.preprocessing.writer import Kept, PreparedWriter
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
from glaucoma.schema import Column
from glaucoma.workspace import Workspace

RECORD_NAME = "prepared.json"
_LISTED = 20


def preprocess(
    dataset: Path,
    name: str,
    workspace: Workspace,
    settings: PreprocessSettings,
    *,
    report: Progress = silent,
    workers: int | None = None,
    disc_model: DiscModel | None = None,
) -> StageOutput:
    """The prepared form of the dataset in the folder `dataset`, at `workspace.prepared(name)/<key>`.

    Writes `images/<id>.png`, `masks/<id>.png` where there is a mask, `images.npy` (n, S, S, 3) RGB, `masks.npy` and
    `fields.npy` (n, S, S), all uint8 and in the manifest's row order, `manifest.csv` with the geometry, and
    `prepared.json`.

    Args:
        workers: Threads; None for as many as there are cores. Changes no byte of the output.
        disc_model: The model of the experiment that a `disc_crop` step names; its key is part of the output's.

    Raises:
        SettingsError: The steps name an experiment to find the disc, and no model was given.
        DatasetError: More images had to be set aside than `max_set_aside_share` allows, or a class vanished from a
            split.
        DiskSpaceError: Too little space for the output; nothing was written.
    """
    disc_model = _wanted(settings, disc_model)
    manifest = read_manifest(dataset)
    source = read_record(dataset / "dataset.json")
    inputs = {"dataset": source.key, "manifest_sha256": file_sha256(dataset / MANIFEST_NAME)}
    if disc_model is not None:
        inputs["disc_model"] = disc_model.key
    return run_stage(
        stage="preprocess",
        workspace=workspace,
        parent=workspace.prepared(name),
        record_name=RECORD_NAME,
        inputs=inputs,
        settings=settings,
        module=__name__,
        build=partial(_build, dataset, name, source, manifest, settings, report, workers, disc_model),
    )


def _wanted(settings: PreprocessSettings, disc_model: DiscModel | None) -> DiscModel | None:
    """The model, where a step asks for one."""
    step = settings.disc_crop
    if step is None or step.experiment is None:
        return None
    if disc_model is None:
        raise SettingsError(
            f"The step disc_crop names the experiment {step.experiment}, and no model of it was handed over",
            remedy="pass disc_model, as the preprocess flow does, or leave experiment empty to go by the masks",
        )
    return disc_model


def _build(
    dataset: Path,
    name: str,
    source: StageRecord,
    manifest: pd.DataFrame,
    settings: PreprocessSettings,
    report: Progress,
    workers: int | None,
    disc_model: DiscModel | None,
    staging: Path,
) -> Built:
    require_disk_space(staging, len(manifest) * settings.image_size_px**2 * 7, f"{len(manifest)} prepared images")
    written, set_aside = _write_images(dataset, manifest, settings, report, workers, disc_model, staging)
    prepared = written.manifest(manifest)
    _check_kept(manifest, prepared, set_aside, settings)
    write_manifest(staging / MANIFEST_NAME, prepared)
    counts = {
        "images": len(prepared),
        "with_mask": int((prepared[Column.MASK] != "").sum()),
        "set_aside": len(set_aside),
        "round_fields": written.round_fields,
        "disc_cut": len(written.disc_cut),
        "without_disc": len(written.without_disc),
    }
    details = {
        "name": name,
        "dataset_key": source.key,
        "dataset_details": {**source.counts, **{k: source.details.get(k) for k in ("layout", "grouping")}},
        "image_size_px": settings.image_size_px,
        "set_aside": set_aside,
        "disc_cut": written.disc_cut[:_LISTED],
        "without_disc": written.without_disc[:_LISTED],
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
    disc_model: DiscModel | None,
    staging: Path,
) -> tuple[PreparedWriter, list[dict[str, str]]]:
    """Prepares all images and writes them; also gives those that were set aside, with their reasons."""
    total, set_aside = len(manifest), list[dict[str, str]]()
    allowed = settings.max_set_aside_share * total
    writer = PreparedWriter(staging, settings.image_size_px, rows_at_most=total)

    def prepare(job: tuple[int, Source]) -> tuple[str, Kept | SetAside]:
        place, source = job
        made = prepare_one(source, settings, disc_model)
        return source.image_id, made if isinstance(made, SetAside) else writer.write(place, source.image_id, made)

    jobs = enumerate(_sources(dataset, manifest))
    with writer, contextlib.closing(ordered_map(prepare, jobs, workers=workers)) as results:
        for place, (image_id, result) in enumerate(results):
            if isinstance(result, SetAside):
                set_aside.append({"image_id": image_id, "reason": result.reason})
                if len(set_aside) > allowed:
                    _refuse(set_aside, place + 1, total, settings)
            else:
                writer.keep(place, image_id, result)
            report((place + 1) / total, f"prepared {place + 1} of {total} images")
    return writer, set_aside


def _sources(dataset: Path, manifest: pd.DataFrame) -> Iterator[Source]:
    """One after the other, as they are asked for: thousands of them need not wait in memory."""
    columns = (manifest[name] for name in (Column.IMAGE_ID, Column.IMAGE, Column.SHA256, Column.MASK))
    for image_id, image, sha256, mask in zip(*columns, strict=True):
        yield Source(image_id, dataset / image, sha256, dataset / mask if mask else None)


def _refuse(set_aside: list[dict[str, str]], done: int, total: int, settings: PreprocessSettings) -> NoReturn:
    raise DatasetError(
        f"{len(set_aside)} of the first {done} images (of {total}) cannot be prepared, for example {_first(set_aside)}",
        expected=f"at most {settings.max_set_aside_share:.0%} of the images set aside",
        consequence="No prepared dataset was written",
        remedy="look at the images named, or raise preprocess.max_set_aside_share",
    )


def _check_kept(
    manifest: pd.DataFrame, prepared: pd.DataFrame, set_aside: list[dict[str, str]], settings: PreprocessSettings
) -> None:
    """Setting images aside may not leave a split without a class that it had."""
    if prepared.empty:
        _refuse(set_aside, len(manifest), len(manifest), settings)
    before, after = (set(zip(one[Column.SPLIT], one[Column.LABEL], strict=True)) for one in (manifest, prepared))
    lost = before - after
    if lost:
        gone = " and no ".join(sorted(f"{label} in {split}" for split, label in lost))
        raise DatasetError(
            f"Setting {len(set_aside)} unusable images aside left no {gone}",
            expected="every class that a split had to remain in it",
            consequence="No prepared dataset was written",
            remedy=_first(set_aside),
        )


def _first(set_aside: list[dict[str, str]]) -> str:
    return "; ".join(f"{one['image_id']}: {one['reason']}" for one in set_aside[:5])


def _counts_by_split(prepared: pd.DataFrame) -> dict[str, dict[str, int]]:
    pairs = Counter(zip(prepared[Column.SPLIT], prepared[Column.LABEL], strict=True))
    counts: dict[str, dict[str, int]] = {}
    for (split, label), number in sorted(pairs.items()):
        counts.setdefault(str(split), {})[str(label)] = number
    return counts
