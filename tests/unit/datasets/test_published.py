"""What the record says of a public dataset beside what was published of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.provenance import StageOutput, file_sha256
from glaucoma.workspace import Workspace
from tests.unit.datasets.lookalikes import LOOKALIKES

Make = Callable[..., StageOutput]


@pytest.fixture
def made(tmp_path: Path, workspace: Workspace) -> Make:
    """The dataset of a look-alike tree, after `change` was made to the tree."""

    def make(name: str, change: Callable[[Path], None] = lambda _: None) -> StageOutput:
        LOOKALIKES[name](tmp_path / "tree")
        change(tmp_path / "tree")
        packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "tree")
        split = {"keep_given": False, "val_share": 0, "test_share": 0}  # some trees are too small to be split
        settings = NormalizeSettings.model_validate({"split": split, "max_unreadable_share": 0.5})
        return normalize(unpack(Path(packed), workspace), "trial", workspace, settings)

    return make


def test_the_masks_of_origa_have_the_stated_vertical_ratio(made: Make) -> None:
    details = made("origa").record.details
    check = details["stated_vertical_cdr_check"]
    assert (check["n"], check["n_stated"], check["n_within_0_001"], check["n_over_0_02"]) == (12, 12, 12, 0)
    assert check["max_difference"] <= 0.0001
    assert check["worst"] == []
    counts = details["published_counts"]
    assert counts["images"] == {"found": 12, "published": 650}
    assert counts["by_label"]["glaucoma"] == {"found": 3, "published": 168}
    assert not counts["agrees"]
    assert "images 12 of 650" in counts["warning"]
    reasons = {entry["reason"] for entry in details["set_aside"]}
    assert reasons == {"another version of a photograph or mask"}


def test_a_stated_ratio_that_the_mask_does_not_have_is_shown(made: Make) -> None:
    def misstate(root: Path) -> None:
        table = root / "ORIGA/ORIGA/OrigaList.csv"
        lines = table.read_text().splitlines()
        cells = lines[3].split(",")
        table.write_text("\n".join([*lines[:3], ",".join([*cells[:2], "0.9", *cells[3:]]), *lines[4:]]))

    check = made("origa", misstate).record.details["stated_vertical_cdr_check"]
    assert (check["n_within_0_001"], check["n_over_0_02"]) == (11, 1)
    assert [(one["image_id"], one["stated"]) for one in check["worst"]] == [("003", 0.9)]


def test_a_generic_layout_is_compared_with_nothing(made: Make, photo: Callable[..., bytes]) -> None:
    def replace(root: Path) -> None:
        shutil.rmtree(root)
        for number in range(12):
            path = root / ("normal" if number % 2 else "glaucoma") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(number))

    details = made("origa", replace).record.details
    assert details["layout"] == "class_folders"
    assert not {"published_counts", "stated_vertical_cdr_check"} & set(details)


def test_stereo_halves_are_datasets_of_png_files_with_hashes_of_their_own(made: Make) -> None:
    output = made("rim_one_r3_whole_width")
    table = read_manifest(output.folder)
    assert set(table["source_part"]) == {"left", "right"}
    assert set(zip(table["width"], table["height"], strict=True)) == {(60, 80)}
    for row in table.itertuples():
        assert row.image.endswith(f"_{row.source_part}.png")
        assert file_sha256(output.folder / row.image) == row.sha256
        assert (output.folder / row.image).stat().st_nlink == 1
    reasons = {entry["reason"] for entry in output.record.details["set_aside"]}
    assert reasons == {"one reader's mask; the average was taken"}


def test_a_stereo_photograph_that_was_cut_short_leaves_nothing_behind(made: Make) -> None:
    def ruin(root: Path) -> None:
        path = next(root.rglob("N-1-L.jpg"))
        path.write_bytes(path.read_bytes()[:-200])

    output = made("rim_one_r3", ruin)
    aside = {Path(entry["source"]).name for entry in output.record.details["set_aside"]}
    assert "N-1-L.jpg" in aside
    assert len(list((output.folder / "images").iterdir())) == 8
