from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets import intake, layouts
from glaucoma.datasets.layouts.base import SourceImage, SourceMask
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.masks import CanonicalMask, from_parts, read_grey
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.not_understood import sentences
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.datasets.tree import Tree
from glaucoma.errors import (
    DatasetError,
    DiskSpaceError,
    IntegrityError,
    LeakageError,
    NotFoundError,
    SettingsError,
)
from glaucoma.provenance import StageOutput, file_sha256
from glaucoma.schema import Label
from glaucoma.synthetic.marker import MARKER_NAME
from glaucoma.workspace import Workspace

Photo = Callable[..., bytes]
Normalized = Callable[..., StageOutput]
Unpacked = Callable[[Mapping[str, bytes]], StageOutput]


def class_folders(photo: Photo, each: int) -> dict[str, bytes]:
    normal = {f"normal/{n}.png": photo(n) for n in range(each)}
    return normal | {f"glaucoma/{n}.png": photo(100 + n) for n in range(each)}


@pytest.fixture
def two_classes(photo: Photo) -> dict[str, bytes]:
    """Ten normal and ten glaucoma photographs, a folder each."""
    return class_folders(photo, 10)


@pytest.fixture
def with_masks(photo: Photo, mask_file: Photo) -> dict[str, bytes]:
    files = {f"images/{n}.png": photo(n) for n in range(12)} | {f"masks/{n}.png": mask_file() for n in range(12)}
    rows = "".join(f"{n}.png,{n % 2},P{n // 2 // 2 * 2 + n % 2}\n" for n in range(12))
    return files | {"labels.csv": f"image,label,patient_id\n{rows}".encode()}


def left_behind(workspace: Workspace) -> list[Path]:
    return list((workspace.root / "datasets").rglob("*.csv")) + list((workspace.root / "datasets").glob("*/*"))


def test_what_a_table_says_and_nobody_understands_is_counted_by_column_and_word(
    normalized: Normalized, with_masks: dict[str, bytes]
) -> None:
    said = {0: "maybe,61,18", 1: "maybe,610,18", 2: "unknown,n/a,-3", 3: ",,180"}
    rows = "".join(f"{n}.png,{said.get(n, f'{n % 2},50,15')},P{n}\n" for n in range(12))
    files = with_masks | {"labels.csv": f"image,label,age,iop,patient_id\n{rows}".encode()}
    details = normalized(files, allow_one_class=True).record.details
    assert details["counts_by_label"]["unknown"] == 4
    assert details["not_understood"] == {
        "age_years": {"images": 1, "words": {"610": 1}},
        "iop_mmhg": {"images": 2, "words": {"-3": 1, "180": 1}},
        "label": {"images": 2, "words": {"maybe": 2}},
    }
    lines = sentences(details["not_understood"])
    assert "The age_years of 1 photographs is no number from 0 to 130 and was left empty: '610' (1)" in lines
    assert "The label of 2 photographs has no known meaning and counts as unknown: 'maybe' (2)" in lines


def test_a_dataset_is_whole_and_its_record_says_what_it_is(
    normalized: Normalized, with_masks: dict[str, bytes]
) -> None:
    output = normalized(with_masks)
    table = read_manifest(output.folder)
    details = output.record.details
    assert output.record.counts == {"images": 12, "patients": 6, "groups": 6, "with_mask": 12, "set_aside": 0}
    assert details["counts_by_label"] == {"glaucoma": 6, "normal": 6}
    assert details["labels"] == {"0": {"normal": 6}, "1": {"glaucoma": 6}}
    assert (details["layout"], details["grouping"], details["synthetic"]) == ("images_masks", "patient", False)
    assert details["manifest_sha256"] == file_sha256(output.folder / "manifest.csv")
    by_split = {split: sum(counts.values()) for split, counts in details["counts_by_split"].items()}
    assert by_split == dict(table["split"].value_counts())
    for row in table.itertuples():
        assert file_sha256(output.folder / row.image) == row.sha256
        mask = cv2.imread(str(output.folder / row.mask), cv2.IMREAD_UNCHANGED)
        assert sorted(np.unique(mask)) == [0, 1, 2]
        assert mask.shape == (row.height, row.width)
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(table["disc_state"]) == set(table["cup_state"]) == {"present"}


def test_photographs_are_hard_links_and_copies_where_links_are_impossible(
    unpacked: Unpacked, two_classes: dict[str, bytes], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = unpacked(two_classes)
    first = normalize(source, "linked", workspace)
    assert (first.folder / "images" / "normal-3.png").samefile(source.folder / "files" / "normal" / "3.png")

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    second = normalize(source, "copied", workspace)
    assert not (second.folder / "images" / "normal-3.png").samefile(source.folder / "files" / "normal" / "3.png")
    assert (first.folder / "manifest.csv").read_bytes() == (second.folder / "manifest.csv").read_bytes()


def test_a_second_call_reuses_and_other_settings_do_not(
    unpacked: Unpacked, two_classes: dict[str, bytes], workspace: Workspace
) -> None:
    source = unpacked(two_classes)
    first = normalize(source, "trial", workspace)
    again = normalize(source.folder, "trial", workspace)
    other = normalize(source, "trial", workspace, NormalizeSettings.model_validate({"split": {"seed": 1}}))
    assert again.reused
    assert again.folder == first.folder
    assert other.key != first.key


def test_an_unreadable_photograph_is_set_aside_by_name_and_the_rest_goes_on(
    normalized: Normalized, two_classes: dict[str, bytes]
) -> None:
    files = two_classes | {"normal/bad.jpg": b"\xff\xd8 nothing", "normal/cut.png": two_classes["normal/1.png"][:-40]}
    output = normalized(files)
    aside = {entry["source"]: entry["reason"] for entry in output.record.details["set_aside"]}
    assert set(aside) == {"normal/bad.jpg", "normal/cut.png"}
    assert all(aside.values())
    assert output.record.counts["images"] == 20
    assert not (output.folder / "images" / "bad.jpg").exists()


def test_too_many_unreadable_photographs_are_refused_with_their_reasons(
    normalized: Normalized, two_classes: dict[str, bytes], workspace: Workspace
) -> None:
    files = two_classes | {f"normal/{n}.png": b"broken" for n in range(6)}
    with pytest.raises(DatasetError, match=r"6 of 20 photographs cannot be used: normal/0.png: .*at most 20%"):
        normalized(files)
    assert left_behind(workspace) == []


def test_a_mask_of_another_size_is_set_aside_and_its_photograph_stays(
    normalized: Normalized, with_masks: dict[str, bytes], mask_file: Photo
) -> None:
    output = normalized(with_masks | {"masks/3.png": mask_file(size=40), "masks/4.png": b"x"})
    table = read_manifest(output.folder).set_index("image_id")
    assert (table.loc["3", "mask"], table.loc["3", "disc_state"]) == ("", "not_visible")
    assert output.record.counts["with_mask"] == 10
    reasons = {entry["source"]: entry["reason"] for entry in output.record.details["set_aside"]}
    assert reasons["masks/3.png"] == "mask: it has 40 x 40 pixels, its photograph 48 x 48"
    assert "cannot be read" in reasons["masks/4.png"]


def test_too_many_bad_masks_are_refused(normalized: Normalized, with_masks: dict[str, bytes]) -> None:
    with pytest.raises(DatasetError, match="3 of 12 masks cannot be used"):
        normalized(with_masks | {f"masks/{n}.png": b"x" for n in range(3)})


def test_masks_of_the_disc_alone_say_nothing_of_cups(
    normalized: Normalized, with_masks: dict[str, bytes], mask_file: Photo
) -> None:
    output = normalized(with_masks | {f"masks/{n}.png": mask_file((0, 1, 1)) for n in range(12)})
    table = read_manifest(output.folder)
    assert set(table["disc_state"]) == {"present"}
    assert set(table["cup_state"]) == {"not_visible"}


def test_a_blank_mask_among_good_ones_states_absence(
    normalized: Normalized, with_masks: dict[str, bytes], mask_file: Photo
) -> None:
    table = read_manifest(normalized(with_masks | {"masks/0.png": mask_file((0, 0, 0))}).folder).set_index("image_id")
    assert (table.loc["0", "disc_state"], table.loc["0", "cup_state"]) == ("absent", "absent")


def test_one_class_only_is_refused_with_the_words_that_were_seen(
    normalized: Normalized, with_masks: dict[str, bytes]
) -> None:
    rows = "".join(f"{n},healthy\n" for n in range(12))
    with pytest.raises(DatasetError, match=r"one class only: normal 12 .*'healthy'"):
        normalized(with_masks | {"labels.csv": f"image,label\n{rows}".encode()})


def test_a_folder_of_one_class_is_one_class_and_no_unknown_layout(normalized: Normalized, photo: Photo) -> None:
    with pytest.raises(DatasetError, match="one class only: glaucoma 5"):
        normalized({f"Glaucoma/{n}.png": photo(n) for n in range(5)})


def test_masks_without_any_diagnosis_serve_segmentation(normalized: Normalized, with_masks: dict[str, bytes]) -> None:
    del with_masks["labels.csv"]
    output = normalized(with_masks)
    assert output.record.details["counts_by_label"] == {"unknown": 12}
    assert set(read_manifest(output.folder)["split"]) == {"train", "val", "test"}


def test_too_few_patients_are_refused_with_the_numbers(normalized: Normalized, photo: Photo) -> None:
    with pytest.raises(DatasetError, match=r"too small to split by patient: .*glaucoma 2, normal 2"):
        normalized(class_folders(photo, 2))


def test_the_same_photograph_under_two_names_stays_on_one_side_and_odd_labels_are_told(
    normalized: Normalized, two_classes: dict[str, bytes]
) -> None:
    files = two_classes | {"glaucoma/copy.png": two_classes["normal/3.png"]}
    output = normalized(files)
    table = read_manifest(output.folder).set_index("image_id")
    assert table.loc["copy", "group"] == table.loc["normal-3", "group"] == "copy"
    assert table.loc["copy", "split"] == table.loc["normal-3", "split"]
    assert output.record.details["grouping"] == "content"
    assert output.record.details["conflicting_labels"] == [{"normal-3": "normal", "copy": "glaucoma"}]


def test_given_splits_that_hold_one_photograph_twice_are_refused(
    normalized: Normalized, two_classes: dict[str, bytes], workspace: Workspace
) -> None:
    files = {f"{'train' if n % 2 else 'test'}/{path}": content for n, (path, content) in enumerate(two_classes.items())}
    assert set(read_manifest(normalized(files).folder)["split"]) == {"train", "val", "test"}
    first = next(path for path in files if path.startswith("train"))
    with pytest.raises(LeakageError, match="in more than one split"):
        normalized(files | {"test/normal/again.png": files[first]})


def test_other_image_files_and_rows_without_a_file_are_set_aside_by_name(
    normalized: Normalized, with_masks: dict[str, bytes], photo: Photo
) -> None:
    table = with_masks["labels.csv"] + b"99.png,1,P9\n"
    output = normalized(with_masks | {"labels.csv": table, "logo.png": photo(99)})
    reasons = {entry["source"]: entry["reason"] for entry in output.record.details["set_aside"]}
    assert reasons == {
        "99.png": "named by a table and not in the archive",
        "logo.png": "no photograph or mask of the layout images_masks",
    }


def test_generated_photographs_are_marked(normalized: Normalized, two_classes: dict[str, bytes]) -> None:
    output = normalized(two_classes | {MARKER_NAME: b"generated"})
    assert output.record.details["synthetic"] is True
    assert output.record.details["layout"] == "class_folders"


def test_a_limit_takes_each_label_by_its_share(normalized: Normalized, two_classes: dict[str, bytes]) -> None:
    output = normalized(two_classes, max_images=12)
    assert output.record.details["counts_by_label"] == {"glaucoma": 6, "normal": 6}
    assert output.record.details["left_out"] == 8
    assert output.record.counts["set_aside"] == 0


@pytest.mark.parametrize("ruin", ["changed", "gone"])
@pytest.mark.parametrize("path", ["images/3.png", "masks/3.png"])
def test_a_file_that_is_not_what_was_unpacked_shuts_the_door(
    ruin: str, path: str, unpacked: Unpacked, with_masks: dict[str, bytes], workspace: Workspace
) -> None:
    source = unpacked(with_masks)
    file = source.folder / "files" / path
    content = file.read_bytes()
    file.unlink()
    if ruin == "changed":
        file.write_bytes(content[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="not what was unpacked"):
        normalize(source, "trial", workspace)
    assert left_behind(workspace) == []


def test_a_full_disk_is_named_and_leaves_nothing(
    unpacked: Unpacked, two_classes: dict[str, bytes], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(intake, "link", full)
    with pytest.raises(DiskSpaceError, match="writing the dataset trial"):
        normalize(unpacked(two_classes), "trial", workspace)
    assert left_behind(workspace) == []


def test_a_folder_that_is_no_unpacked_archive_and_a_bad_name_are_refused(
    tmp_path: Path, unpacked: Unpacked, two_classes: dict[str, bytes], workspace: Workspace
) -> None:
    with pytest.raises(NotFoundError, match="unpack the archive first"):
        normalize(tmp_path, "trial", workspace)
    with pytest.raises(SettingsError, match="cannot name a dataset"):
        normalize(unpacked(two_classes), "../trial", workspace)


class TwoMaskFiles:
    """A layout as a maintainer would add it: `eyes/H_7.png`, with `disc/H_7.png` and `cup/H_7.png` apart."""

    name = "two_mask_files"
    generic = False
    looks_like = "eyes/H_7.png or eyes/G_7.png, with disc/ and cup/ beside"

    def recognise(self, tree: Tree) -> str | None:
        eyes = [path for path in tree.images if path.parent.name == "eyes" and path.name[:2] in ("H_", "G_")]
        return f"{len(eyes)} images in eyes/ are called H_ or G_" if eyes else None

    def read(self, tree: Tree) -> list[SourceImage]:
        return [self._image(tree, path.name) for path in tree.images if path.parent.name == "eyes"]

    def _image(self, tree: Tree, name: str) -> SourceImage:
        disc, cup, eye = (
            next(p for p in tree.images if p.parts[-2:] == (kind, name)) for kind in ("disc", "cup", "eyes")
        )

        def mask() -> CanonicalMask:
            return from_parts(read_grey(tree.full(disc)) > 127, read_grey(tree.full(cup)) > 127)

        label = Label.GLAUCOMA if name.startswith("G") else Label.NORMAL
        return SourceImage(eye, label=label, source_label=name[0], mask=SourceMask((disc, cup), mask))


def test_a_new_layout_is_added_by_naming_it_and_read_like_the_others(
    unpacked: Unpacked, photo: Photo, mask_file: Photo, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{kind}_{n}.png" for kind in "HG" for n in range(5)]
    files = {f"any/eyes/{name}": photo(seed) for seed, name in enumerate(names)}
    files |= {f"any/disc/{name}": mask_file((0, 255, 255)) for name in names}
    files |= {f"any/cup/{name}": mask_file((0, 0, 255)) for name in names}
    monkeypatch.setattr(layouts, "LAYOUTS", (TwoMaskFiles(), *layouts.LAYOUTS))
    output = normalize(unpacked(files), "trial", workspace)
    table = read_manifest(output.folder)
    assert output.record.details["layout"] == "two_mask_files"
    assert output.record.details["set_aside"] == []
    assert output.record.details["counts_by_label"] == {"glaucoma": 5, "normal": 5}
    assert set(table["cup_state"]) == {"present"}
    mask = cv2.imread(str(output.folder / table.loc[0, "mask"]), cv2.IMREAD_UNCHANGED)
    assert np.bincount(mask.ravel()).tolist() == [48 * 48 - 400, 300, 100]
    assert NormalizeSettings(layout="two_mask_files").layout == "two_mask_files"


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_acrima_is_read_as_published(tmp_path: Path, workspace: Workspace) -> None:
    source = Path(os.environ["ARC_REAL_DATA"]) / "acrima-sample"
    packed = shutil.make_archive(str(tmp_path / "any-name"), "zip", source)
    output = normalize(unpack(Path(packed), workspace), "acrima", workspace)
    table = read_manifest(output.folder)
    assert output.record.details["layout"] == "acrima"
    assert output.record.details["counts_by_label"] == {"glaucoma": 91, "normal": 90}
    assert output.record.counts["set_aside"] == 0
    assert (table["label"] == "glaucoma").tolist() == table["source"].str.contains("_g_").tolist()
    assert table.groupby(["split", "label"]).size().min() == 18
