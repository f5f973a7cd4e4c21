"""The merge stage: several datasets become one of the same form, origins are kept, and no eye is split in two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.archives.disk import full_disk_named
from glaucoma.datasets.grouping import Grouping, group
from glaucoma.datasets.imagefile import ordered_map
from glaucoma.datasets.intake import IMAGES_FOLDER, MASKS_FOLDER, link
from glaucoma.datasets.manifest import MANIFEST_NAME, read_manifest, write_manifest
from glaucoma.datasets.merge_record import counts_of, details_of
from glaucoma.datasets.merge_rows import Part, fingerprints, merged_rows, published
from glaucoma.datasets.merge_settings import MergeSettings
from glaucoma.datasets.pair_judgements import judgements_sha256, read_judgements, write_judged
from glaucoma.datasets.splits import Splits, assign
from glaucoma.datasets.suspects import write_suspects
from glaucoma.errors import DatasetError, IntegrityError, NotFoundError, SettingsError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, file_sha256, read_record, run_stage
from glaucoma.schema import Column, Label, Split
from glaucoma.workspace import Workspace

RECORD_NAME = "dataset.json"
_REPORT_EVERY = 50


def merge(
    datasets: Sequence[Path],
    name: str,
    workspace: Workspace,
    settings: MergeSettings | None = None,
    *,
    report: Progress = silent,
) -> StageOutput:
    """Makes the dataset `workspace.datasets(name)/<key>` of finished ones, in the form that `normalize` gives.

    Photographs and masks are hard links. Each image's id begins with its dataset's name; its origin, site and patient
    are told apart from those of the other datasets (`merge_rows`). Photographs that are one, by patient, bytes, pixels,
    original name, looks, or a person's judgement, stay in one group, whichever datasets they come from; all are kept.

    Args:
        datasets: Folders of two datasets or more, of different names, in any order.
        name: Of the new dataset; none of theirs.

    Returns:
        Details as `normalize` gives them, `layout` being `merged`, and `merged` (name, key, layout, images, labels of
        each part), `counts_by_origin`, `shared_photographs` (images with the same pixels in two datasets, links
        between datasets by rung, and the first 1,000).

    Raises:
        SettingsError: Fewer than two datasets, or two of one name, or the new one's name among them.
        NotFoundError: A folder is no dataset.
        LeakageError: Splits are to be kept and cut a group.
        DatasetError: One class only, or too few patients to split.
        IntegrityError: A photograph is not what its manifest says, or a mask is gone.
    """
    settings = settings or MergeSettings()
    parts = sorted((_part(folder) for folder in datasets), key=lambda part: part.name)
    _require_different(parts, name)
    judged = read_judgements(workspace, [name, *(part.name for part in parts)])
    inputs = {f"dataset {part.name}": part.record.key for part in parts}
    inputs |= {f"manifest {part.name}": file_sha256(part.folder / MANIFEST_NAME) for part in parts}
    if judged:
        inputs["judgements"] = judgements_sha256(judged)

    def build(staging: Path) -> Built:
        with full_disk_named(staging, f"writing the dataset {name}"):
            rows = merged_rows(parts)
            grouping = group(
                rows[Column.IMAGE_ID].tolist(),
                rows[Column.PATIENT_ID].tolist(),
                fingerprints(rows),
                published=published(rows),
                judged=judged,
            )
            splits = _split(rows, grouping, settings)
            _require_two_classes(rows, parts)
            rows = _linked(staging, parts, rows, report)
            rows[Column.GROUP] = list(grouping.groups)
            rows[Column.SPLIT] = [str(split) for split in splits.of_image]
            rows[Column.FOLD] = list(splits.folds) or ""
            write_judged(staging, grouping.judged)
            write_manifest(staging / MANIFEST_NAME, rows)
            details = details_of(parts, rows, grouping) | write_suspects(staging, name, rows, grouping)
            details |= {
                "name": name,
                "manifest_sha256": file_sha256(staging / MANIFEST_NAME),
            }
            return Built(counts_of(rows, details), details)

    output = run_stage(
        stage="merge",
        workspace=workspace,
        parent=workspace.datasets(name),
        record_name=RECORD_NAME,
        inputs=inputs,
        settings=settings,
        module=__name__,
        build=build,
    )
    report(1.0, f"{output.record.counts['images']} photographs of {len(parts)} datasets")
    return output


def _part(folder: Path) -> Part:
    if not (folder / RECORD_NAME).is_file():
        raise NotFoundError(
            f"{folder} is no dataset: it has no {RECORD_NAME}",
            expected="the folder that the normalize or the merge stage made",
            remedy="normalize the archive first",
        )
    record = read_record(folder / RECORD_NAME)
    return Part(str(record.details["name"]), folder, record, read_manifest(folder))


def _require_different(parts: Sequence[Part], name: str) -> None:
    names = [part.name for part in parts]
    twice = sorted({one for one in names if names.count(one) > 1})
    if len(parts) < 2 or twice or name in names:
        found = f"{', '.join(twice)} twice" if twice else ", ".join(names) or "none"
        raise SettingsError(
            f"The datasets to merge into {name} are {found}",
            expected=f"two or more of different names, none of them {name}",
            consequence="Nothing was merged",
        )


def _require_two_classes(rows: pd.DataFrame, parts: Sequence[Part]) -> None:
    """As in `normalize`: one class cannot be learned, and no label at all serves segmentation."""
    labels = set(rows[Column.LABEL])
    if len(labels & {Label.NORMAL.value, Label.GLAUCOMA.value}) != 1:
        return
    if Label.SUSPECT.value in labels and bool((rows[Column.MASK] != "").any()):
        return
    each = "; ".join(f"{part.name}: {part.record.details['counts_by_label']}" for part in parts)
    raise DatasetError(
        f"The datasets have one class only together: {each}",
        expected="photographs of both normal and glaucoma eyes, or no labels at all for segmentation alone",
        consequence="Nothing was merged",
        remedy="merge one with the other class",
    )


def _split(rows: pd.DataFrame, grouping: Grouping, settings: MergeSettings) -> Splits:
    labels = [Label(label) for label in rows[Column.LABEL]]
    given = [Split(split) if settings.split.keep_given else None for split in rows[Column.SPLIT]]
    return assign(
        rows[Column.IMAGE_ID].tolist(),
        grouping.groups,
        labels,
        given,
        settings.split,
        sites=rows[Column.SITE].tolist(),
        links=grouping.links,
    )


def _linked(staging: Path, parts: Sequence[Part], rows: pd.DataFrame, report: Progress) -> pd.DataFrame:
    """Links photographs and masks into `staging` under their new names, and checks photographs' bytes."""
    (staging / IMAGES_FOLDER).mkdir()
    (staging / MASKS_FOLDER).mkdir()
    folders = [part.folder for part in parts for _ in range(len(part.rows))]
    jobs = list(zip(folders, rows.to_dict("records"), strict=True))
    done: dict[str, list[str]] = {Column.IMAGE: [], Column.MASK: []}
    for number, (image, mask) in enumerate(ordered_map(lambda job: _link_one(staging, *job), jobs), start=1):
        done[Column.IMAGE].append(image)
        done[Column.MASK].append(mask)
        if number % _REPORT_EVERY == 0:
            report(0.1 + 0.85 * number / len(jobs), f"{number} of {len(jobs)} photographs linked")
    return rows.assign(**{str(column): values for column, values in done.items()})


def _link_one(staging: Path, folder: Path, row: dict[Any, Any]) -> tuple[str, str]:
    image_id, source = row[Column.IMAGE_ID], folder / row[Column.IMAGE]
    if not source.is_file() or file_sha256(source) != row[Column.SHA256]:
        raise _changed(source)
    image = f"{IMAGES_FOLDER}/{image_id}{source.suffix}"
    link(source, staging / image)
    if not row[Column.MASK]:
        return image, ""
    if not (folder / row[Column.MASK]).is_file():
        raise _changed(folder / row[Column.MASK])
    mask = f"{MASKS_FOLDER}/{image_id}.png"
    link(folder / row[Column.MASK], staging / mask)
    return image, mask


def _changed(path: Path) -> IntegrityError:
    return IntegrityError(
        f"The file {path} is gone or not what its manifest says",
        consequence="Nothing was merged",
        remedy="remove that dataset's folder and normalize its archive again",
    )
