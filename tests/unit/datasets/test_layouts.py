from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import openpyxl
import pytest
from pydantic import ValidationError

from glaucoma.datasets import layouts
from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.words import eye_of, is_mask_folder, label_of, patient_and_eye, split_of
from glaucoma.datasets.recognition import choose_layout
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.tree import Tree
from glaucoma.errors import DatasetError, LayoutError
from glaucoma.provenance import StageOutput
from glaucoma.schema import Eye, Label, Split

Unpack = Callable[[Mapping[str, bytes]], StageOutput]
X = b"no layout opens a photograph"


@pytest.fixture
def tree(unpacked: Unpack) -> Callable[[Mapping[str, bytes]], Tree]:
    def make(files: Mapping[str, bytes]) -> Tree:
        return Tree.of(unpacked(files).folder / "files", files)

    return make


MakeTree = Callable[[Mapping[str, bytes]], Tree]


def read(tree: Tree, name: str = "auto") -> tuple[str, dict[str, SourceImage]]:
    layout, _ = choose_layout(tree, name)
    return layout.name, {str(image.source): image for image in layout.read(tree)}


def workbook(*rows: list[object]) -> bytes:
    book, buffer = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(buffer)
    return buffer.getvalue()


def test_acrima_is_known_by_its_names_wherever_it_lies(tree: MakeTree) -> None:
    name, images = read(tree({"q/w/Im001_ACRIMA.jpg": X, "q/w/Im686_g_ACRIMA.JPG": X, "q/readme.txt": X}))
    assert name == "acrima"
    assert {path: image.label for path, image in images.items()} == {
        "q/w/Im001_ACRIMA.jpg": Label.NORMAL,
        "q/w/Im686_g_ACRIMA.JPG": Label.GLAUCOMA,
    }


@pytest.mark.parametrize("layout", ["acrima", "refuge"])
def test_a_stray_picture_makes_it_no_other_dataset(layout: str, tree: MakeTree) -> None:
    if layout == "acrima":
        files = {f"Im{n:03d}{'_g' if n % 2 else ''}_ACRIMA.jpg": X for n in range(20)}
    else:
        files = {f"{kind}{n:04d}.{end}": X for kind in "gn" for n in range(10) for end in ("jpg", "bmp")}
    name, images = read(tree(files | {"logo.png": X}))
    assert name == layout
    assert len(images) == 20


def test_refuge_gives_splits_cameras_masks_and_labels_from_names_workbooks_and_folders(tree: MakeTree) -> None:
    files = {
        "Training400/Glaucoma/g0001.jpg": X,
        "Training400/Non-Glaucoma/n0001.jpg": X,
        "Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp": X,
        "REFUGE-Validation400/V0001.jpg": X,
        "REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp": X,
        "REFUGE-Validation400-GT/Fovea_locations.xlsx": workbook(
            ["ID", "ImgName", "Fovea_X", "Fovea_Y", "Glaucoma Label"], [1, "V0001.jpg", 10.5, 11.5, 1]
        ),
        "Test400/T0001.jpg": X,
        "Test400/T0002.jpg": X,
        "REFUGE-Test-GT/Disc_Cup_Masks/G/T0002.bmp": X,
        "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx": workbook(
            ["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"], [1, "T0001.jpg", 0, 1.0, 2.0]
        ),
    }
    name, images = read(tree(files))
    by_stem = {PurePosixPath(path).stem: image for path, image in images.items()}
    assert name == "refuge"
    assert {stem: image.label.value for stem, image in by_stem.items()} == {
        "g0001": "glaucoma",
        "n0001": "normal",
        "V0001": "glaucoma",
        "T0001": "normal",
        "T0002": "glaucoma",
    }
    assert [by_stem[stem].split for stem in ("g0001", "V0001", "T0001")] == [Split.TRAIN, Split.VAL, Split.TEST]
    assert by_stem["V0001"].source_label == "1"
    assert {stem for stem, image in by_stem.items() if image.mask} == {"g0001", "V0001", "T0002"}
    assert by_stem["g0001"].site != by_stem["V0001"].site == by_stem["T0001"].site


@pytest.mark.parametrize("normal", ["normal", "Healthy", "Non-Glaucoma", "non_glaucoma", "NRG"])
def test_class_folders_are_known_in_the_usual_words_with_and_without_splits(normal: str, tree: MakeTree) -> None:
    files = {
        f"root/Training Set/{normal}/P0001_OD.jpg": X,
        "root/Training Set/Glaucoma/x.png": X,
        "root/test/glaucoma/y.png": X,
        "root/test/Suspicious Glaucoma/P7_L.png": X,
    }
    name, images = read(tree(files))
    first, second, third, fourth = (images[path] for path in files)
    assert name == "class_folders"
    assert (first.label, first.split, first.source_label) == (Label.NORMAL, Split.TRAIN, normal)
    assert (first.patient_id, first.eye, first.patient_from_name) == ("P0001", Eye.OD, True)
    assert (second.label, second.split, second.patient_id) == (Label.GLAUCOMA, Split.TRAIN, "")
    assert third.split is Split.TEST
    assert (fourth.label, fourth.eye) == (Label.SUSPECT, Eye.OS)


def test_images_and_masks_pair_by_name_and_the_table_tells_the_rest(tree: MakeTree) -> None:
    table = (
        "Image;Label;Patient ID;Laterality;Hospital;Split\n"
        "a.jpg;Glaucoma;P1;left;North;training\n"
        "B;0;P2;OD;South;val\n"
        "gone.jpg;1;P3;;;\n"
    )
    files = {"images/a.jpg": X, "images/b.png": X, "masks/a.png": X, "labels.csv": table.encode("utf-8-sig")}
    name, images = read(tree(files))
    assert name == "images_masks"
    a, b, gone = images["images/a.jpg"], images["images/b.png"], images["gone.jpg"]
    assert (a.label, a.source_label, a.patient_id, a.eye, a.site, a.split) == (
        Label.GLAUCOMA, "Glaucoma", "P1", Eye.OS, "North", Split.TRAIN,
    )  # fmt: skip
    assert a.mask is not None
    assert a.mask.sources == (PurePosixPath("masks/a.png"),)
    assert (b.label, b.patient_id, b.eye, b.split, b.mask) == (Label.NORMAL, "P2", Eye.OD, Split.VAL, None)
    assert gone.label is Label.UNKNOWN


def test_masks_pair_within_their_split_and_under_names_that_say_mask(tree: MakeTree) -> None:
    names = ["images/1.png", "masks/1_mask.png"]
    files = {f"{split}/{name}": X for split in ("train", "val") for name in names}
    _, images = read(tree(files))
    for split in ("train", "val"):
        image = images[f"{split}/images/1.png"]
        assert image.split is Split(split)
        assert image.mask is not None
        assert image.mask.sources == (PurePosixPath(f"{split}/masks/1_mask.png"),)


def test_flat_photographs_with_a_workbook_are_read(tree: MakeTree) -> None:
    files = {
        "a.jpg": X,
        "b.jpg": X,
        "data.xlsx": workbook(["A title"], ["filename", "diagnosis"], ["a", 1.0], ["b", 0.0]),
    }
    name, images = read(tree(files))
    assert name == "images_masks"
    assert [images["a.jpg"].label, images["b.jpg"].label] == [Label.GLAUCOMA, Label.NORMAL]


def test_other_versions_of_the_photographs_are_left_out(tree: MakeTree) -> None:
    files = dict.fromkeys(["Images/1.jpg", "Images_Square/1.jpg", "Images_Cropped/1.jpg", "Masks/1.png"], X)
    _, images = read(tree(files))
    assert list(images) == ["Images/1.jpg"]


def test_class_folders_with_masks_are_images_and_masks_with_labels(tree: MakeTree) -> None:
    files = dict.fromkeys(["glaucoma/images/1.jpg", "normal/images/2.jpg", "glaucoma/masks/1.png"], X)
    name, images = read(tree(files))
    assert name == "images_masks"
    assert [image.label for image in images.values()] == [Label.GLAUCOMA, Label.NORMAL]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.jpg": X, "b/c.jpg": X}, r"no known layout.*2 files.*a\.jpg.*add a layout"),
        (
            {"images/a.jpg": X, "gt/a.png": X, "masks/a.png": X},
            r"Two masks have the name of images/a.jpg: gt/a.png and masks/a.png",
        ),
        (
            {"a.jpg": X, "b.jpg": X, "l.csv": b"image,label\na,AMD\nb,cataract\n"},
            "None of the labels is understood: 'AMD', 'cataract'",
        ),
        (
            {"a.jpg": X, "1.csv": b"image,label\na,normal\n", "2.csv": b"name,class\na,glaucoma\n"},
            "contradict each other: the label of a.jpg is 'normal' and 'glaucoma'",
        ),
    ],
)
def test_what_cannot_be_told_is_said_and_never_guessed(files: dict[str, bytes], said: str, tree: MakeTree) -> None:
    with pytest.raises(LayoutError, match=f"(?s){said}"):
        read(tree(files))


def test_two_special_layouts_that_match_are_both_named(tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twin(layouts.Acrima):
        name = "twin"

    monkeypatch.setattr(layouts, "LAYOUTS", (*layouts.LAYOUTS, Twin()))
    files = tree({"Im001_ACRIMA.jpg": X})
    with pytest.raises(LayoutError, match=r"(?s)follow 2 layouts: acrima .*twin.*set layout to one of acrima, twin"):
        read(files)
    assert read(files, "twin")[0] == "twin"


def test_a_layout_that_is_named_and_does_not_fit_is_refused(tree: MakeTree) -> None:
    with pytest.raises(LayoutError, match="not the layout refuge"):
        read(tree({"normal/a.jpg": X, "glaucoma/b.jpg": X}), "refuge")


def test_an_unknown_layout_is_a_wrong_setting_and_the_nearest_is_named() -> None:
    with pytest.raises(ValidationError, match="no layout is called 'refuje'; did you mean 'refuge'"):
        NormalizeSettings(layout="refuje")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": X, "b.csv": b"x"}, "no photographs, only 1 .csv, 1 .txt|no photographs, only 1 .txt, 1 .csv"),
        ({"inner.zip": X}, "unpack the archives inside it"),
    ],
)
def test_an_archive_without_photographs_has_its_own_message(files: dict[str, bytes], said: str, tree: MakeTree) -> None:
    with pytest.raises(DatasetError, match=said):
        read(tree(files))


def test_a_table_that_contradicts_itself_is_refused(tree: MakeTree) -> None:
    with pytest.raises(DatasetError, match="names the image 'a' twice"):
        read(tree({"a.jpg": X, "l.csv": b"image,label\na,normal\na,glaucoma\n"}))


def test_a_broken_workbook_says_so(tree: MakeTree) -> None:
    with pytest.raises(DatasetError, match=r"table l\.xlsx cannot be read"):
        read(tree({"a.jpg": X, "l.xlsx": b"PK nothing"}))


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("Non-Glaucoma", Label.NORMAL), ("NON GLAUCOMA", Label.NORMAL), ("GON-", Label.NORMAL),
        ("gon+", Label.GLAUCOMA),
        ("RG", Label.GLAUCOMA), ("1.0", Label.GLAUCOMA), ("0", Label.NORMAL), ("glaucoma_suspect", Label.SUSPECT),
        ("Glaucoma and glaucoma suspicious", None), ("2", None), ("", None),
    ],
)  # fmt: skip
def test_words_of_labels(word: str, label: Label | None) -> None:
    assert label_of(word) is label


def test_a_folder_of_one_letter_names_no_class_and_other_words_are_known() -> None:
    assert label_of("1", folder=True) is None
    assert label_of("G", folder=True) is None
    assert (split_of("Validation"), split_of("training_set"), split_of("A")) == (Split.VAL, Split.TRAIN, None)
    assert (eye_of("Left"), eye_of("OD"), eye_of("both")) == (Eye.OS, Eye.OD, Eye.UNKNOWN)
    assert is_mask_folder("Disc_Cup_Masks")


@pytest.mark.parametrize(
    ("stem", "patient", "eye"),
    [
        ("P0001_OD", "P0001", Eye.OD), ("12-os", "12", Eye.OS), ("17_OD_2", "17", Eye.OD),
        ("IM000000_L", "IM000000", Eye.OS), ("P01_L_2", "P01", Eye.OS), ("IMG_R_001", "", Eye.UNKNOWN),
        ("IM000165 (3)", "IM000165", Eye.UNKNOWN), ("IM7_R (2)", "IM7", Eye.OD), ("Im001_ACRIMA", "", Eye.UNKNOWN),
        ("17_OD-a b_2", "17", Eye.OD), ("17_OD" + "_" * 200 + "!", "", Eye.UNKNOWN),
        ("good", "", Eye.UNKNOWN), ("model", "", Eye.UNKNOWN), ("_OD", "", Eye.UNKNOWN),
    ],
)  # fmt: skip
def test_patients_and_eyes_in_file_names(stem: str, patient: str, eye: Eye) -> None:
    assert patient_and_eye(stem) == (patient, eye)
