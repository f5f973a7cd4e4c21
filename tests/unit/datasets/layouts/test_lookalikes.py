"""Every look-alike tree is recognised by its own adapter alone and read as its source describes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets import layouts
from glaucoma.datasets.intake import Intake, take_in
from glaucoma.datasets.layouts.base import PublishedLayout, SourceImage
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.tree import Tree
from glaucoma.progress import silent
from glaucoma.schema import StructureState
from tests.unit.datasets.lookalikes import LOOKALIKES, Expected, ExpectedImage
from tests.unit.datasets.lookalikes.base import write
from tests.unit.datasets.lookalikes.drawing import Ellipse

JUNK = ("__MACOSX/a/._Im001_ACRIMA.jpg", "Thumbs.db", "a/desktop.ini", "a/.DS_Store", "a/._image_0.jpg")


def tree_of(root: Path) -> Tree:
    return Tree.of(root, (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))


def everyone(names: dict[str, Callable[[Path], Expected]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("build", names.values(), ids=names.keys())


@everyone(LOOKALIKES)
def test_a_tree_is_recognised_by_its_own_adapter_alone_wherever_it_lies(
    build: Callable[[Path], Expected], tmp_path: Path
) -> None:
    expected = build(tmp_path / "plain")
    deep = build(tmp_path / "deep" / "some download (1)" / "some download")
    for name in JUNK:
        (tmp_path / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "deep" / name).write_bytes(b"left behind by a desktop")
    for root, found in (("plain", expected), ("deep", deep)):
        tree = tree_of(tmp_path / root)
        special = [layout.name for layout in layouts.LAYOUTS if not layout.generic and layout.recognise(tree)]
        assert special == [found.layout]
        layout, evidence = choose_layout(tree, "auto")
        assert layout.name == found.layout
        assert any(character.isdigit() for character in evidence)
    assert len(layout.read(tree)) == len(expected.images)


@everyone(LOOKALIKES)
def test_labels_splits_people_and_masks_are_what_the_source_says(
    build: Callable[[Path], Expected], tmp_path: Path
) -> None:
    expected = build(tmp_path / "tree")
    tree = tree_of(tmp_path / "tree")
    layout, _ = choose_layout(tree, "auto")
    sources = layout.read(tree)
    assert {str(source.source) for source in sources} == set(expected.images)
    intake, staging = taken_in(tree, sources, tmp_path)
    assert {one.source.source for one in intake.taken} == {one.source for one in sources} & set(tree.files)
    for one in intake.taken:
        wanted = expected.images[str(one.source.source)]
        require_said(one.source, wanted, {"disc_state": one.disc_state, "cup_state": one.cup_state})
        mask = cv2.imread(str(staging / one.mask), cv2.IMREAD_UNCHANGED) if one.mask else None
        assert (mask is None) == (wanted.mask is None), one.mask_problem or one.source.source
        if mask is not None and wanted.mask is not None:
            assert mask.shape == wanted.mask.shape == (one.fingerprint.height, one.fingerprint.width)
            assert int((mask != wanted.mask).sum()) <= wanted.mask_off_px
            for least in (1, 2):  # a contour's own height lies half-way between the rows that it touches and encloses
                assert abs(rows(mask >= least) - rows(wanted.mask >= least)) <= (2 if wanted.mask_off_px else 0)
    used = {path for source in sources for path in (source.source, *(source.mask.sources if source.mask else ()))}
    assert {str(path) for path in tree.images if path not in used} == expected.outside


def require_said(source: SourceImage, wanted: ExpectedImage, states: dict[str, StructureState]) -> None:
    said = (source.label, source.split, source.patient_id, source.eye)
    assert said == (wanted.label, wanted.split, wanted.patient_id, wanted.eye), source.source
    for name, value in wanted.others.items():
        assert (states[name] if name in states else getattr(source, name)) == value, (source.source, name)


def rows(structure: np.ndarray) -> int:
    return int(structure.any(axis=1).sum())


def taken_in(tree: Tree, sources: list[SourceImage], tmp_path: Path) -> tuple[Intake, Path]:
    staging = tmp_path / "staging"
    staging.mkdir()
    hashes = {str(path): hashlib.sha256(tree.full(path).read_bytes()).hexdigest() for path in tree.files}
    return take_in(staging, tree, sources, hashes, 1.0, silent), staging


def test_every_public_dataset_has_a_tree_and_counts_that_add_up() -> None:
    special = {layout.name for layout in layouts.LAYOUTS if not layout.generic}
    trees = {name.split("_flat")[0] for name in LOOKALIKES}
    assert len(trees) >= len(special)
    for layout in layouts.LAYOUTS:
        if isinstance(layout, PublishedLayout) and layout.published.by_label:
            assert sum(layout.published.by_label.values()) == layout.published.images, layout.name


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_contours_on_real_photographs_have_the_height_and_area_that_were_marked(tmp_path: Path) -> None:
    """Two readers' ellipses around the boxes of real discs, laid out as PAPILA lays them."""
    folder, wanted = tmp_path / "tree", {}
    for number, photo in enumerate(
        sorted((Path(os.environ["ARC_REAL_DATA"]) / "idrid-sample/images").glob("*.jpg"))[:3]
    ):
        stem = f"RET{number + 2:03d}OD"
        height, width = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE).shape
        box = next(line.split() for line in photo.with_suffix(".txt").read_text().splitlines() if line[0] == "0")
        x, y, box_width, box_height = np.array(box[1:], float) * [width, height, width, height]
        for reader, grow in ((1, -6.0), (2, 6.0)):
            points = Ellipse(x, y, box_width / 2, box_height / 2).grown(grow).points(500, first_pixel=0)
            text = "\n".join(f"{across} {down}" for across, down in points).encode()
            write(folder, f"ExpertsSegmentations/Contours/{stem}_disc_exp{reader}.txt", text)
        write(folder, f"FundusImages/{stem}.jpg", photo.read_bytes())
        wanted[stem.lower()] = (box_height, np.pi * box_width * box_height / 4)
    tree = tree_of(folder)
    layout, _ = choose_layout(tree, "auto")
    intake, staging = taken_in(tree, layout.read(tree), tmp_path)
    assert layout.name == "papila"
    for one in intake.taken:
        disc = cv2.imread(str(staging / one.mask), cv2.IMREAD_UNCHANGED) > 0
        height_px, area_px = wanted[one.source.source.stem.lower()]
        assert abs(rows(disc) - height_px) <= 1.5
        assert disc.sum() == pytest.approx(area_px, rel=0.005)
