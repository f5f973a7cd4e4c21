"""The normalize stage: unpacked files of a known layout become a dataset in the canonical form, with its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glaucoma.archives.disk import full_disk_named
from glaucoma.archives.unpack import FILES_FOLDER
from glaucoma.archives.unpack import RECORD_NAME as ARCHIVE_RECORD
from glaucoma.datasets.dataset_record import counts_of, details_of, manifest_of
from glaucoma.datasets.grouping import Grouping, Publication, group
from glaucoma.datasets.intake import Taken, take_in
from glaucoma.datasets.layouts.base import Layout, LeavesOut, SourceImage
from glaucoma.datasets.layouts.mapped import NAME as MAPPED
from glaucoma.datasets.layouts.mapping import LayoutMapping, read_mapping
from glaucoma.datasets.manifest import MANIFEST_NAME, write_manifest
from glaucoma.datasets.not_understood import count_not_understood
from glaucoma.datasets.pair_judgements import Judged, judgements_sha256, read_judgements, write_judged
from glaucoma.datasets.published import compared_with_published
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.splits import Splits, assign
from glaucoma.datasets.suspects import write_suspects
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, NotFoundError
from glaucoma.progress import Progress, silent
from glaucoma.provenance import Built, StageOutput, StageRecord, digest, file_sha256, read_record, run_stage
from glaucoma.schema import Label
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

    It holds `images/` (hard links of the unpacked files, unchanged), `masks/` (canonical PNG), `manifest.csv`,
    `dataset.json`, and where pairs of photographs look alike `suspects.csv` and `suspects.html`. The key follows from
    the files' hashes, what people said of such pairs, the settings and the code. A photograph that cannot be read,
    a mask that cannot be read or has another size than its photograph, an image file outside the layout, and a table's
    row without its file are set aside, each named with its reason; the rest go on.

    Args:
        unpacked: What `unpack` gave, or its folder.

    Returns:
        Details: `name`, `layout`, `layout_evidence`, `set_aside`, `counts_by_label`, `counts_by_split`, `labels` (the
        source's words -> label -> images), `grouping`, `conflicting_labels`, `not_understood` (column -> the
        source's words that gave no value), `left_out` (by `max_images`), `manifest_sha256`, `synthetic`, those of
        `write_suspects`, and for a public dataset `published_counts` and `stated_vertical_cdr_check`.
        Counts: `images`, `patients` (named by the source), `groups`, `with_mask`, `set_aside`.

    Raises:
        LayoutError: The files follow no known layout, or several.
        LeakageError: The source's own splits cut a patient, or hold one photograph twice.
        SettingsError: The mapping cannot be used.
        DatasetError: No photographs, one class only, too many unreadable, or too few patients to split.
        IntegrityError: An unpacked file differs from its recorded hash.
    """
    settings = settings or NormalizeSettings()
    mapping, inputs = None, {}
    if settings.mapping is not None:  # what it says counts, wherever it lies
        mapping, inputs["mapping"] = read_mapping(settings.mapping)
        settings = settings.model_copy(update={"layout": MAPPED, "mapping": None})
    judged = read_judgements(workspace, [name])
    if judged:
        inputs["judgements"] = judgements_sha256(judged)
    folder, record = _source(unpacked)
    parent = workspace.datasets(name)
    tree = Tree.of(folder / FILES_FOLDER, [str(entry["path"]) for entry in record.details["files"]])
    hashes = {str(entry["path"]): str(entry["sha256"]) for entry in record.details["files"]}

    def build(staging: Path) -> Built:
        with full_disk_named(staging, f"writing the dataset {name}"):
            return _build(staging, name, tree, hashes, settings, mapping, judged, report)

    output = run_stage(
        stage="normalize",
        workspace=workspace,
        parent=parent,
        record_name=RECORD_NAME,
        inputs={"files": digest(hashes), **inputs},
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
    staging: Path,
    name: str,
    tree: Tree,
    hashes: dict[str, str],
    settings: NormalizeSettings,
    mapping: LayoutMapping | None,
    judged: Judged,
    report: Progress,
) -> Built:
    layout, evidence = choose_layout(tree, settings.layout, mapping)
    report(0.02, f"layout {layout.name}: {evidence}")
    sources = layout.read(tree)
    chosen = _limited(sources, settings)
    intake = take_in(staging, tree, chosen, hashes, settings.max_unreadable_share, report)
    intake.set_aside.extend(_outside(tree, sources, layout))
    taken = intake.taken
    if not settings.allow_one_class:
        _require_two_classes(taken)
    grouping, splits = _grouped_and_split(taken, layout, settings, judged)
    write_judged(staging, grouping.judged)
    manifest = manifest_of(taken, grouping, splits, layout.name)
    write_manifest(staging / MANIFEST_NAME, manifest)
    details = details_of(intake, grouping, splits)
    details |= compared_with_published(layout, taken)
    read = [one.source for one in taken]
    details["not_understood"] = count_not_understood(read, labels_were_mapped=mapping is not None)
    details |= write_suspects(staging, name, manifest, grouping)
    details |= {
        "name": name,
        "layout": layout.name,
        "layout_evidence": evidence,
        "mapping": None if mapping is None else mapping.model_dump(mode="json", exclude_defaults=True),
        "left_out": len(sources) - len(chosen),
        "manifest_sha256": file_sha256(staging / MANIFEST_NAME),
        "synthetic": tree.synthetic,
    }
    return Built(counts_of(intake, grouping), details)


def _grouped_and_split(
    taken: Sequence[Taken], layout: Layout, settings: NormalizeSettings, judged: Judged
) -> tuple[Grouping, Splits]:
    ids, sources = [one.image_id for one in taken], [one.source for one in taken]
    grouping = group(
        ids,
        [source.patient_id for source in sources],
        [one.fingerprint for one in taken],
        published=[_publication(source, layout) for source in sources],
        judged=judged,
    )
    splits = assign(
        ids,
        grouping.groups,
        [source.label for source in sources],
        [source.split for source in sources],
        settings.split,
        sites=[source.site or source.origin or layout.name for source in sources],
        links=grouping.links,
    )
    return grouping, splits


def _publication(source: SourceImage, layout: Layout) -> Publication:
    file = source.original_name or source.source.name
    return Publication(source.origin or layout.name, file, by_another=bool(source.original_name))


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
    reasons = layout.left_out(tree) if isinstance(layout, LeavesOut) else {}
    return [
        {"source": str(path), "reason": reasons.get(path, f"no photograph or mask of the layout {layout.name}")}
        for path in tree.images
        if path not in used
    ]


def _require_two_classes(taken: Sequence[Taken]) -> None:
    """One class cannot be learned; a dataset without any diagnosis, or of suspects with masks, serves segmentation."""
    labels, words = [one.source.label for one in taken], [one.source.source_label for one in taken]
    there = set(labels) & {Label.NORMAL, Label.GLAUCOMA}
    if len(there) != 1 or (Label.SUSPECT in labels and any(one.mask for one in taken)):
        return
    counts = Counter(str(label) for label in labels)
    seen = ", ".join(sorted({repr(word) for word in words if word})[:8]) or "none"
    raise DatasetError(
        f"The dataset has one class only: {', '.join(f'{label} {count}' for label, count in sorted(counts.items()))} "
        f"(the source's words: {seen})",
        expected="photographs of both normal and glaucoma eyes, or no labels at all for segmentation alone",
        consequence="The dataset was not made",
        remedy="add the other class to the archive, check how the labels are written, or set allow_one_class to merge "
        "it with another dataset",
    )
