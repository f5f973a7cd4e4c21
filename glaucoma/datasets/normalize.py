"""The normalize stage: unpacked files of a known layout become a dataset in the canonical form, with its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glaucoma.archives.disk import full_disk_named
from glaucoma.archives.unpack import FILES_FOLDER
from glaucoma.archives.unpack import RECORD_NAME as ARCHIVE_RECORD
from glaucoma.datasets.identity import Grouping, group
from glaucoma.datasets.intake import Intake, Taken, take_in
from glaucoma.datasets.layouts.base import Layout, SourceImage
from glaucoma.datasets.manifest import MANIFEST_NAME, write_manifest
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.splits import Splits, assign
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, NotFoundError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, StageRecord, digest, file_sha256, read_record, run_stage
from glaucoma.schema import Column, Label, Split
from glaucoma.workspace import Workspace

RECORD_NAME = "dataset.json"


def normalize(
    unpacked: StageOutput | Path,
    name: str,
    workspace: Workspace,
    settings: NormalizeSettings | None = None,
    *,
    report: Progress = silent,
) -> StageOutput:
    """Makes the dataset `workspace.datasets(name)/<key>` of an unpacked archive.

    It holds `images/` (hard links of the unpacked files, unchanged), `masks/` (canonical PNG), `manifest.csv` and
    `dataset.json`. The key follows from the files' hashes, the settings and the code. A photograph that cannot be read,
    a mask that cannot be read or has another size than its photograph, an image file outside the layout, and a table's
    row without its file are set aside, each named with its reason; the rest go on.

    Args:
        unpacked: What `unpack` gave, or its folder.

    Returns:
        Details: `name`, `layout`, `layout_evidence`, `set_aside`, `counts_by_label`, `counts_by_split`, `labels` (the
        source's words -> label -> images), `grouping`, `conflicting_labels`, `left_out` (by `max_images`),
        `manifest_sha256`, `synthetic`. Counts: `images`, `patients` (named by the source), `groups`, `with_mask`,
        `set_aside`.

    Raises:
        LayoutError: The files follow no known layout, or several.
        LeakageError: The source's own splits cut a patient, or hold one photograph twice.
        DatasetError: No photographs, one class only, too many unreadable, or too few patients to split.
        IntegrityError: An unpacked file differs from its recorded hash.
    """
    settings = settings or NormalizeSettings()
    folder, record = _source(unpacked)
    parent = workspace.datasets(name)
    tree = Tree.of(folder / FILES_FOLDER, [str(entry["path"]) for entry in record.details["files"]])
    hashes = {str(entry["path"]): str(entry["sha256"]) for entry in record.details["files"]}

    def build(staging: Path) -> Built:
        with full_disk_named(staging, f"writing the dataset {name}"):
            return _build(staging, name, tree, hashes, settings, report)

    output = run_stage(
        stage="normalize",
        workspace=workspace,
        parent=parent,
        record_name=RECORD_NAME,
        inputs={"files": digest(hashes)},
        settings=settings,
        module=__name__,
        build=build,
    )
    counts = output.record.counts
    report(1.0, f"{counts['images']} photographs, {counts['with_mask']} with a mask, {counts['set_aside']} set aside")
    return output


def _source(unpacked: StageOutput | Path) -> tuple[Path, StageRecord]:
    if isinstance(unpacked, StageOutput):
        return unpacked.folder, unpacked.record
    if not (unpacked / ARCHIVE_RECORD).is_file():
        raise NotFoundError(
            f"{unpacked} is no unpacked archive: it has no {ARCHIVE_RECORD}",
            expected="the folder that the unpack stage made",
            remedy="unpack the archive first",
        )
    return unpacked, read_record(unpacked / ARCHIVE_RECORD)


def _build(
    staging: Path, name: str, tree: Tree, hashes: dict[str, str], settings: NormalizeSettings, report: Progress
) -> Built:
    layout, evidence = choose_layout(tree, settings.layout)
    report(0.02, f"layout {layout.name}: {evidence}")
    sources = layout.read(tree)
    chosen = _limited(sources, settings)
    intake = take_in(staging, tree, chosen, hashes, settings.max_unreadable_share, report)
    intake.set_aside.extend(_outside(tree, sources, layout))
    taken = intake.taken
    labels = [one.source.label for one in taken]
    _require_two_classes(labels, [one.source.source_label for one in taken])
    grouping = group(
        [one.image_id for one in taken],
        [one.source.patient_id for one in taken],
        [one.fingerprint for one in taken],
    )
    splits = assign(
        [one.image_id for one in taken], grouping.groups, labels, [one.source.split for one in taken], settings.split
    )
    write_manifest(staging / MANIFEST_NAME, _manifest(taken, grouping, splits, layout.name))
    details = _details(intake, grouping, splits) | {
        "name": name,
        "layout": layout.name,
        "layout_evidence": evidence,
        "left_out": len(sources) - len(chosen),
        "manifest_sha256": file_sha256(staging / MANIFEST_NAME),
        "synthetic": tree.synthetic,
    }
    return Built(_counts(intake, grouping), details)


def _limited(sources: Sequence[SourceImage], settings: NormalizeSettings) -> list[SourceImage]:
    """All, or at most `max_images`, of each label and given split its share."""
    if settings.max_images is None or len(sources) <= settings.max_images:
        return list(sources)
    rng = np.random.default_rng(settings.split.seed)
    by_kind: dict[tuple[str, str], list[int]] = {}
    for place in rng.permutation(len(sources)):
        source = sources[place]
        by_kind.setdefault((source.label, source.split or ""), []).append(int(place))
    ranked = sorted((rank / len(places), place) for places in by_kind.values() for rank, place in enumerate(places))
    kept = sorted(place for _, place in ranked[: settings.max_images])
    return [sources[place] for place in kept]


def _outside(tree: Tree, sources: Sequence[SourceImage], layout: Layout) -> list[dict[str, str]]:
    """Image files that the layout took neither for a photograph nor for a mask."""
    used = {source.source for source in sources}
    used |= {path for source in sources if source.mask for path in source.mask.sources}
    return [
        {"source": str(path), "reason": f"no photograph or mask of the layout {layout.name}"}
        for path in tree.images
        if path not in used
    ]


def _require_two_classes(labels: Sequence[Label], words: Sequence[str]) -> None:
    """One class cannot be learned; a dataset without any diagnosis serves segmentation and passes."""
    there = set(labels) & {Label.NORMAL, Label.GLAUCOMA}
    if len(there) != 1:
        return
    counts = Counter(str(label) for label in labels)
    seen = ", ".join(sorted({repr(word) for word in words if word})[:8]) or "none"
    raise DatasetError(
        f"The dataset has one class only: {', '.join(f'{label} {count}' for label, count in sorted(counts.items()))} "
        f"(the source's words: {seen})",
        expected="photographs of both normal and glaucoma eyes, or no labels at all for segmentation alone",
        consequence="The dataset was not made",
        remedy="add the other class to the archive, or check how the labels are written",
    )


def _manifest(taken: Sequence[Taken], grouping: Grouping, splits: Splits, layout: str) -> pd.DataFrame:
    rows = []
    for one, group_name, split in zip(taken, grouping.groups, splits.of_image, strict=True):
        source, print_ = one.source, one.fingerprint
        rows.append(
            {
                Column.IMAGE_ID: one.image_id,
                Column.IMAGE: one.image,
                Column.MASK: one.mask,
                Column.LABEL: source.label,
                Column.SOURCE_LABEL: source.source_label,
                Column.PATIENT_ID: source.patient_id,
                Column.EYE: source.eye,
                Column.SITE: source.site,
                Column.ORIGIN: source.origin or layout,
                Column.SOURCE: str(source.source),
                Column.SOURCE_PART: source.part,
                Column.SPLIT: split,
                Column.FOLD: "",
                Column.GROUP: group_name,
                Column.WIDTH: print_.width,
                Column.HEIGHT: print_.height,
                Column.SHA256: print_.sha256,
                Column.PIXEL_SHA256: print_.pixel_sha256,
                Column.PERCEPTUAL_HASH: print_.perceptual_hash,
                Column.DISC_STATE: one.disc_state,
                Column.CUP_STATE: one.cup_state,
                Column.STATED_VERTICAL_CDR: source.stated_vertical_cdr,
                Column.AGE_YEARS: source.age_years,
                Column.IOP_MMHG: source.iop_mmhg,
                Column.STATED_QUALITY: source.stated_quality,
            }
        )
    return pd.DataFrame(rows).rename(columns=str)


def _details(intake: Intake, grouping: Grouping, splits: Splits) -> dict[str, Any]:
    taken = intake.taken
    labels = [str(one.source.label) for one in taken]
    words: dict[str, Counter[str]] = {}
    for one in taken:
        words.setdefault(one.source.source_label, Counter())[str(one.source.label)] += 1
    from_names = any(one.source.patient_from_name for one in taken)
    by_split = splits.counts(labels)
    return {
        "set_aside": intake.set_aside,
        "counts_by_label": dict(sorted(Counter(labels).items())),
        "counts_by_split": {str(split): dict(sorted(by_split[split].items())) for split in Split},
        "labels": {word: dict(sorted(counts.items())) for word, counts in sorted(words.items())},
        "grouping": grouping.described(named_by_files=from_names),
        "conflicting_labels": _conflicts(taken),
    }


def _conflicts(taken: Sequence[Taken]) -> list[dict[str, str]]:
    """Photographs with the same pixels and different labels: one of the labels is wrong."""
    same: dict[str, dict[str, str]] = {}
    for one in taken:
        same.setdefault(one.fingerprint.pixel_sha256, {})[one.image_id] = str(one.source.label)
    return [labels for labels in same.values() if len(set(labels.values())) > 1]


def _counts(intake: Intake, grouping: Grouping) -> dict[str, int]:
    taken = intake.taken
    return {
        "images": len(taken),
        "patients": len({one.source.patient_id for one in taken} - {""}),
        "groups": len(set(grouping.groups)),
        "with_mask": sum(bool(one.mask) for one in taken),
        "set_aside": len(intake.set_aside),
    }
