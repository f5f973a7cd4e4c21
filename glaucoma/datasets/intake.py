"""Taking photographs and masks in: each opened once, checked, linked into the dataset, or set aside with its reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from glaucoma.datasets.identity import Fingerprint, fingerprint
from glaucoma.datasets.imagefile import StoredSize, UnreadableImageError, ordered_map, read_photograph, stored_size
from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.masks import vertical_cdr
from glaucoma.datasets.names import image_ids
from glaucoma.datasets.placement import cut_half, placed
from glaucoma.datasets.png import mask_png, photograph_png
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, IntegrityError
from glaucoma.progress import Progress
from glaucoma.provenance import file_sha256
from glaucoma.schema import SourcePart, StructureState

IMAGES_FOLDER = "images"
MASKS_FOLDER = "masks"
_REASONS_SHOWN = 10
_REPORT_EVERY = 20


@dataclass(frozen=True)
class Taken:
    """A photograph that is in: its source, its name, its fingerprint, and its mask if it has a good one.

    Args:
        image: Path inside the dataset.
        mask: Likewise, or empty.
        mask_problem: Why there is no mask although the source has one, or empty.
        vertical_cdr: Height of the mask's cup over that of its disc; None where it lacks either.
    """

    source: SourceImage
    image_id: str
    image: str
    fingerprint: Fingerprint
    mask: str = ""
    disc_state: StructureState = StructureState.NOT_VISIBLE
    cup_state: StructureState = StructureState.NOT_VISIBLE
    mask_problem: str = ""
    vertical_cdr: float | None = None


@dataclass(frozen=True)
class Intake:
    """What came in, in the order of the source, and what was set aside."""

    taken: list[Taken]
    set_aside: list[dict[str, str]] = field(default_factory=list)


def take_in(
    staging: Path,
    tree: Tree,
    sources: Sequence[SourceImage],
    hashes: dict[str, str],
    max_unreadable_share: float,
    report: Progress,
) -> Intake:
    """Reads every photograph and mask once, with all cores, and writes `images/` and `masks/` under `staging`.

    Args:
        hashes: Path inside the archive -> SHA-256 when it was unpacked.
        max_unreadable_share: Of the photographs that are there, and of the masks; more is refused.

    Raises:
        DatasetError: Too many cannot be used; the first ten are named with their reasons.
        IntegrityError: A file differs from its hash.
    """
    (staging / IMAGES_FOLDER).mkdir()
    (staging / MASKS_FOLDER).mkdir()
    there = [source for source in sources if str(source.source) in hashes]
    absent = [source for source in sources if str(source.source) not in hashes]
    aside = [{"source": str(one.source), "reason": "named by a table and not in the archive"} for one in absent]
    jobs = list(zip(there, image_ids([_called(source) for source in there]), strict=True))

    def work(job: tuple[SourceImage, str]) -> Taken | dict[str, str]:
        return _take(staging, tree, *job, hashes)

    taken: list[Taken] = []
    unreadable: list[dict[str, str]] = []
    for number, result in enumerate(ordered_map(work, jobs), start=1):
        if isinstance(result, Taken):
            taken.append(result)
        else:
            unreadable.append(result)
        if number % _REPORT_EVERY == 0 or number == len(jobs):
            report(0.05 + 0.9 * number / len(jobs), f"{number} of {len(jobs)} photographs read")
    bad_masks = [
        {"source": ", ".join(str(path) for path in one.source.mask.sources), "reason": f"mask: {one.mask_problem}"}
        for one in taken
        if one.mask_problem and one.source.mask is not None
    ]
    _require_few(unreadable, len(there), "photographs", max_unreadable_share)
    _require_few(bad_masks, sum(one.source.mask is not None for one in taken), "masks", max_unreadable_share)
    return Intake(_cup_states(taken), [*unreadable, *bad_masks, *aside])


def _take(
    staging: Path, tree: Tree, source: SourceImage, image_id: str, hashes: dict[str, str]
) -> Taken | dict[str, str]:
    path, expected = tree.full(source.source), hashes[str(source.source)]
    image = f"{IMAGES_FOLDER}/{image_id}{source.source.suffix.lower() if _is_whole(source) else '.png'}"
    try:
        found = fingerprint(path) if _is_whole(source) else _write_half(path, source.part, expected, staging / image)
        stored = stored_size(path) if source.mask else None
    except UnreadableImageError as error:
        _require_unchanged(path, _sha256(path), expected)
        return {"source": str(source.source), "reason": str(error)}
    if _is_whole(source):
        _require_unchanged(path, found.sha256, expected)
    for mask in source.mask.sources if source.mask else ():
        _require_unchanged(tree.full(mask), _sha256(tree.full(mask)), hashes[str(mask)])
    if _is_whole(source):
        link(path, staging / image)
    taken = Taken(source, image_id, image, found)
    return taken if source.mask is None or stored is None else _with_mask(staging, taken, source.mask, stored)


def _is_whole(source: SourceImage) -> bool:
    return source.part is SourcePart.WHOLE


def _called(source: SourceImage) -> PurePosixPath:
    """What the image is called after: its file, and the half of it where it is one."""
    path = source.source
    return path if _is_whole(source) else path.with_name(f"{path.stem}_{source.part}{path.suffix}")


def _write_half(path: Path, part: SourcePart, expected: str, target: Path) -> Fingerprint:
    """Writes half of a stereo photograph as PNG, which loses nothing; the fingerprint is that of the file written."""
    whole = read_photograph(path)
    _require_unchanged(path, whole.sha256, expected)
    try:
        half = cut_half(whole.pixels, part)
    except DatasetError as error:  # one picture too narrow is set aside as any other that cannot be used
        raise UnreadableImageError(f"{path.name} has no {part} half ({str(error).removesuffix('.')})") from error
    target.write_bytes(photograph_png(half))
    return fingerprint(target)


def _require_unchanged(path: Path, sha256: str, expected: str) -> None:
    if sha256 != expected:
        raise IntegrityError(
            f"The file {path} is not what was unpacked (SHA-256 {sha256[:12] or 'of nothing: it is gone'})",
            expected=expected[:12],
            consequence="The dataset was not made",
            remedy="remove the unpacked folder and unpack the archive again",
        )


def _sha256(path: Path) -> str:
    return file_sha256(path) if path.is_file() else ""


def _with_mask(staging: Path, taken: Taken, source: SourceMask, stored: StoredSize) -> Taken:
    """`taken` with its mask written, or with the reason why not; the photograph is good either way."""
    try:
        mask = placed(source.read(), stored, taken.source.part)
    except DatasetError as error:
        return replace(taken, mask_problem=str(error).removesuffix("."))
    height, width = mask.values.shape
    if (height, width) != (taken.fingerprint.height, taken.fingerprint.width):
        raise DatasetError(f"The mask of {taken.image_id} was laid on a picture of another size: {width} x {height}")
    name = f"{MASKS_FOLDER}/{taken.image_id}.png"
    (staging / name).write_bytes(mask_png(mask.values))
    return replace(
        taken,
        mask=name,
        disc_state=mask.disc_state,
        cup_state=mask.cup_state,
        vertical_cdr=vertical_cdr(mask.values),
    )


def _cup_states(taken: list[Taken]) -> list[Taken]:
    """Where no mask of the whole dataset holds a cup, the masks say nothing of cups: not visible, not absent."""
    if any(one.cup_state is StructureState.PRESENT for one in taken):
        return taken
    return [replace(one, cup_state=StructureState.NOT_VISIBLE) for one in taken]


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system allows none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _require_few(aside: Sequence[dict[str, str]], count: int, what: str, limit: float) -> None:
    if not count or len(aside) <= limit * count:
        return
    shown = "; ".join(f"{one['source']}: {one['reason']}" for one in aside[:_REASONS_SHOWN])
    more = f"; and {len(aside) - _REASONS_SHOWN} more" if len(aside) > _REASONS_SHOWN else ""
    raise DatasetError(
        f"{len(aside)} of {count} {what} cannot be used: {shown}{more}",
        expected=f"at most {limit:.0%} (max_unreadable_share)",
        consequence="The dataset was not made",
        remedy="repair the source, or raise max_unreadable_share if the rest is enough",
    )
