"""Datasets that follow no public collection: class folders, masks beside, tables of three kinds, nothing at all."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.mask_pairs import masks_of
from glaucoma.datasets.layouts.sheets import sheets_of
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, LayoutError
from glaucoma.provenance import StageOutput
from glaucoma.schema import Column, Label, Split, StructureState
from tests.unit.datasets.lookalikes.base import table, workbook

Bytes = Callable[..., bytes]
Normalized = Callable[..., StageOutput]
X = b"no layout opens a photograph"


def tree_of(root: Path, files: Mapping[str, bytes]) -> Tree:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Tree.of(root, files)


def read(tree: Tree, name: str = "auto") -> tuple[str, dict[str, SourceImage]]:
    layout, _ = choose_layout(tree, name)
    return layout.name, {str(image.source): image for image in layout.read(tree)}


def square(low: int, high: int, value: int = 255) -> bytes:
    pixels = np.zeros((48, 48), np.uint8)
    pixels[low:high, low:high] = value
    return bytes(cv2.imencode(".png", pixels)[1])


def xls(rows: list[list[str | float]]) -> bytes:
    """A workbook in Excel's first binary form: labels and numbers of one sheet."""
    records = [struct.pack("<HHHH", 0x0009, 4, 0x0002, 0x0010)]
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            head = struct.pack("<HH3x", row, column)
            if isinstance(cell, str):
                body = head + bytes([len(cell)]) + cell.encode("latin-1")
                records.append(struct.pack("<HH", 0x0004, len(body)) + body)
            else:
                body = head + struct.pack("<d", cell)
                records.append(struct.pack("<HH", 0x0003, len(body)) + body)
    return b"".join([*records, struct.pack("<HH", 0x000A, 0)])


def matlab(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("disc", "cup"),
    [
        ("disc/{}.png", "cup/{}.png"),
        ("masks/disc/{}.png", "masks/cup/{}.png"),
        ("masks/OD/{}.png", "masks/OC/{}.png"),
        ("Optic-Disc Masks/{}.png", "Optic-Cup Masks/{}.png"),
        ("masks/{}_disc.png", "masks/{}_cup.png"),
        ("labels/{}-opticdisc.png", "labels/{}-opticcup.png"),
    ],
)
def test_disc_and_cup_in_files_of_their_own_become_one_mask(disc: str, cup: str, tmp_path: Path) -> None:
    files = {"images/P1_OD.png": X, "images/P1_OS.png": X}
    files |= {disc.format("P1_OD"): square(10, 30), cup.format("P1_OD"): square(15, 25)}
    files |= {disc.format("P1_OS"): square(12, 30)}
    name, images = read(tree_of(tmp_path, files))
    assert name == "images_masks"
    assert set(images) == {"images/P1_OD.png", "images/P1_OS.png"}
    both, only_disc = (image.mask for image in images.values())
    assert both is not None
    assert only_disc is not None
    values = both.read().values
    assert (int((values > 0).sum()), int((values == 2).sum())) == (400, 100)
    assert only_disc.read().cup_state is StructureState.NOT_VISIBLE


def test_a_right_eye_is_no_disc(tmp_path: Path) -> None:
    files = dict.fromkeys(["images/P1_OD.jpg", "images/P1_OS.jpg"], X) | {"masks/P1_OD.png": square(5, 20, 1)}
    _, images = read(tree_of(tmp_path, files))
    mask = images["images/P1_OD.jpg"].mask
    assert mask is not None
    assert mask.sources == (PurePosixPath("masks/P1_OD.png"),)
    assert images["images/P1_OS.jpg"].mask is None


def test_masks_in_matlab_files_are_read(tmp_path: Path) -> None:
    values = np.zeros((48, 48), np.uint8)
    values[10:30, 10:30], values[15:20, 15:20] = 1, 2
    files = {"images/a.jpg": X, "masks/a.mat": matlab(mask=values)}
    _, images = read(tree_of(tmp_path, files))
    mask = images["images/a.jpg"].mask
    assert mask is not None
    assert np.array_equal(mask.read().values, values)


def test_an_old_workbook_tells_labels_and_clinical_values(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [
        ["File name", "Diagnosis", "Subject", "Age", "IOP", "VCDR", "Quality"],
        ["a", "glaucoma", 7.0, 61.5, 24.0, 0.8, "good"],
        ["b", "normal", 8.0, 250.0, "high", "", "poor"],
    ]
    name, images = read(tree_of(tmp_path, {"a.jpg": X, "b.jpg": X, "info.xls": xls(rows)}))
    assert name == "images_masks"
    a, b = images["a.jpg"], images["b.jpg"]
    assert (a.label, a.patient_id, a.age_years, a.iop_mmhg) == (Label.GLAUCOMA, "7", 61.5, 24.0)
    assert (a.stated_vertical_cdr, a.stated_quality) == (0.8, "good")
    assert (b.label, b.age_years, b.iop_mmhg, b.stated_vertical_cdr) == (Label.NORMAL, None, None, None)
    assert (a.unused_numbers, b.unused_numbers) == ((), ((Column.AGE_YEARS, "250"), (Column.IOP_MMHG, "high")))


@pytest.mark.parametrize("content", [b"", b"\xd0\xcf\x11\xe0" + bytes(600), xls([["image", "label"]])[:9], b"\x09\x08"])
def test_a_broken_old_workbook_says_so(content: bytes, tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a.jpg": X, "l.xls": content})
    with pytest.raises((DatasetError, LayoutError), match=r"table l\.xls cannot be read|no known layout"):
        read(tree)


def test_a_table_that_nobody_can_read_does_not_hide_a_special_layout(tmp_path: Path) -> None:
    files = {f"Im{n:03d}{'_g' if n % 2 else ''}_ACRIMA.jpg": X for n in range(6)} | {"notes.xlsx": b"PK broken"}
    assert read(tree_of(tmp_path, files))[0] == "acrima"


def test_what_desktops_leave_behind_is_no_part_of_a_layout(tmp_path: Path) -> None:
    files = {"normal/a.jpg": X, "glaucoma/b.JPEG": X, "__MACOSX/normal/._a.jpg": X, "normal/Thumbs.db": X}
    tree = tree_of(tmp_path, files)
    assert [str(path) for path in tree.files] == ["glaucoma/b.JPEG", "normal/a.jpg"]
    assert read(tree)[0] == "class_folders"


def test_photographs_alone_are_a_dataset_only_where_that_is_asked_for(normalized: Normalized, photo: Bytes) -> None:
    files = {f"images/{n:04d}.png": photo(n) for n in range(8)} | {
        f"images/{n:04d}.txt": b"0 .5 .5 .1 .1" for n in range(8)
    }
    with pytest.raises(LayoutError, match=r"(?s)no known layout.*normalize\.mapping.*set layout to unlabelled"):
        normalized(files)
    output = normalized(files, layout="unlabelled")
    assert output.record.details["counts_by_label"] == {"unknown": 8}
    assert set(read_manifest(output.folder)["split"]) == {"train", "val", "test"}


def test_too_few_photographs_alone_say_what_lacks(normalized: Normalized, photo: Bytes) -> None:
    files = {"left_eye_1411.png": photo(1), "right_eye_600.png": photo(2)}
    with pytest.raises(DatasetError, match="too small to split by patient"):
        normalized(files, layout="unlabelled")
    output = normalized(files, layout="unlabelled", split={"val_share": 0, "test_share": 0})
    assert output.record.counts["images"] == 2


def test_one_class_is_refused_unless_it_is_to_be_merged(normalized: Normalized, photo: Bytes) -> None:
    files = {f"glaucoma/{n}.png": photo(n) for n in range(6)}
    with pytest.raises(DatasetError, match=r"one class only: glaucoma 6.*allow_one_class"):
        normalized(files)
    assert normalized(files, allow_one_class=True).record.details["counts_by_label"] == {"glaucoma": 6}


def test_suspects_with_masks_serve_segmentation(normalized: Normalized, photo: Bytes, mask_file: Bytes) -> None:
    files = {f"{'suspect' if n % 2 else 'normal'}/images/{n}.png": photo(n) for n in range(10)}
    files |= {f"masks/{n}.png": mask_file() for n in range(10)}
    assert normalized(files).record.details["counts_by_label"] == {"normal": 5, "suspect": 5}


@pytest.mark.parametrize("word", ["train", "Training Set"])
def test_splits_stand_above_or_below_classes(word: str, tmp_path: Path) -> None:
    files = dict.fromkeys([f"{word}/normal/1.jpg", f"glaucoma/{word}/2.jpg", "test/glaucoma/3.jpg"], X)
    _, images = read(tree_of(tmp_path, files))
    assert {path: image.split for path, image in images.items()} == dict(
        zip(files, [Split.TRAIN, Split.TRAIN, Split.TEST], strict=True)
    )
    assert [images[path].label for path in files] == [Label.NORMAL, Label.GLAUCOMA, Label.GLAUCOMA]


@pytest.mark.real
def test_idrid_photographs_are_taken_without_labels(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "idrid-sample"
    tree = Tree.of(root, [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()])
    with pytest.raises(LayoutError, match="unlabelled"):
        choose_layout(tree, "auto")
    assert len(choose_layout(tree, "unlabelled")[0].read(tree)) == 6


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, put in, taken out, or the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at, kind = int(rng.integers(max(len(changed), 1))), rng.integers(4)
        if kind == 0 and changed:
            changed[at] ^= int(rng.integers(1, 256))
        elif kind == 1:
            changed[at:at] = rng.bytes(int(rng.integers(1, 20)))
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 30))]
        else:
            changed = changed[: max(at, 1)]
    return bytes(changed)


@pytest.mark.parametrize("ending", [".xls", ".xlsx", ".csv"])
def test_a_damaged_table_is_read_or_refused_and_nothing_else(ending: str, tmp_path: Path) -> None:
    rows: list[list[Any]] = [["image", "label", "age"], *([f"a{n}", n % 2, 50.5 + n] for n in range(9))]
    sound = {".xls": xls(rows), ".xlsx": workbook(rows), ".csv": table(rows)}[ending]
    rng = np.random.default_rng(7)
    ends = set()
    for number in range(120):
        tree = tree_of(tmp_path, {f"{number}{ending}": damaged(sound, rng)})
        try:
            ends.add(type(sheets_of(tree, tree.tables[0])).__name__)
        except DatasetError as error:
            ends.add(type(error).__name__)
    assert ends == {"list", "DatasetError"}


def test_a_sheet_that_claims_a_million_rows_and_columns_is_read_as_it_is(tmp_path: Path) -> None:
    """openpyxl fills up every row to the width that the sheet claims."""
    sound = workbook([["image", "label"], *([f"a{n}", n % 2] for n in range(40_000))])
    hostile = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as parts, zipfile.ZipFile(hostile, "w", zipfile.ZIP_DEFLATED) as changed:
        for part in parts.namelist():
            content = parts.read(part).replace(b'ref="A1:B40001"', b'ref="A1:XFD1048576"')
            changed.writestr(part, content)
    tree = tree_of(tmp_path, {"wide.xlsx": hostile.getvalue()})
    with zipfile.ZipFile(hostile) as parts:
        assert any(b"XFD1048576" in parts.read(part) for part in parts.namelist())
    began = time.process_time()
    assert len(sheets_of(tree, tree.tables[0])[0].rows) == 40_001
    assert time.process_time() - began < 20  # filled up it takes more than half a minute


def test_a_table_of_endless_cells_is_refused_before_it_is_taken_apart(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"wide.csv": b"," * 20_000_001})
    with pytest.raises(DatasetError, match="more than 20000000 cells"):
        sheets_of(tree, tree.tables[0])


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ("TRAIN{:06d}.jpg", [["challenge_id", "class"], *([f"TRAIN{n:06d}", "NRG"] for n in (0, 1, 2, 1))]),
        ("Images/{}_0.jpg", [["Image Name", "Patient", "Label", "Quality Score"],
                             *([f"{n}_0.jpg", n, "GON-", 5] for n in (0, 1, 2, 1))]),
    ],
)  # fmt: skip
def test_a_table_that_names_a_photograph_twice_and_differs_is_refused(
    names: str, rows: list[list[Any]], tmp_path: Path
) -> None:
    photographs = {names.format(n): X for n in range(3)}
    agreeing = tree_of(tmp_path / "agreeing", photographs | {"Labels.csv": table(rows)})
    assert len(choose_layout(agreeing, "auto")[0].read(agreeing)) == 3
    word = {"NRG": "RG", "GON-": "GON+"}
    differing = [*rows[:-1], [word.get(cell, cell) for cell in rows[-1]]]
    with pytest.raises(DatasetError, match="correct the table"):
        choose_layout(tree_of(tmp_path / "differing", photographs | {"Labels.csv": table(differing)}), "auto")


def test_masks_of_one_name_in_a_folder_a_patient_are_paired_without_looking_at_all_pairs(tmp_path: Path) -> None:
    names = [f"x/{kind}/p{n}/eye.png" for n in range(4000) for kind in ("images", "masks")]
    began = time.process_time()
    pairs = masks_of(Tree.of(tmp_path, names))
    assert time.process_time() - began < 10  # all pairs of 4,000 take a minute
    assert len(pairs) == 4000
    assert all(str(mask.sources[0]) == str(path).replace("images", "masks") for path, mask in pairs.items())
