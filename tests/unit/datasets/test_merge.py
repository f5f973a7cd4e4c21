"""Several datasets become one: nothing is lost, nobody is on two sides, and every image says where it is from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets.identity import fingerprint
from glaucoma.datasets.manifest import read_manifest, write_manifest
from glaucoma.datasets.merge import merge
from glaucoma.datasets.merge_rows import collection
from glaucoma.datasets.merge_settings import MergeSettings
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.settings import NormalizeSettings
from glaucoma.errors import DatasetError, IntegrityError, LeakageError, NotFoundError, SettingsError
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.provenance import StageOutput
from glaucoma.workspace import Workspace
from tests.unit.datasets.lookalikes.base import encoded, photograph, table

Bytes = Callable[..., bytes]
Unpacked = Callable[[Mapping[str, bytes]], StageOutput]
Make = Callable[..., StageOutput]


@pytest.fixture
def make(unpacked: Unpacked, workspace: Workspace) -> Make:
    """Normalizes files under a name."""

    def build(name: str, files: Mapping[str, bytes], **settings: object) -> StageOutput:
        return normalize(unpacked(files), name, workspace, NormalizeSettings.model_validate(settings))

    return build


def class_folders(seeds: range, photo: Bytes, *, patients: bool = False) -> dict[str, bytes]:
    ending = "_OD" if patients else ""
    return {f"{'glaucoma' if n % 2 else 'normal'}/P{place:03d}{ending}.png": photo(n) for place, n in enumerate(seeds)}


@pytest.fixture
def north(make: Make, photo: Bytes) -> StageOutput:
    return make("north", class_folders(range(12), photo, patients=True))


@pytest.fixture
def south(make: Make, photo: Bytes, mask_file: Bytes) -> StageOutput:
    files = {f"images/P{n:03d}_OS.png": photo(100 + n) for n in range(10)}
    files |= {f"masks/P{n:03d}_OS.png": mask_file() for n in range(10)}
    rows = [["image", "label", "site"], *([f"P{n:03d}_OS.png", n % 2, "Clinic"] for n in range(10))]
    return make("south", files | {"labels.csv": table(rows)})


def test_a_merged_dataset_has_every_image_of_its_parts_under_its_own_name(
    north: StageOutput, south: StageOutput, workspace: Workspace
) -> None:
    output = merge([south.folder, north.folder], "both", workspace)
    rows = read_manifest(output.folder)
    before = {
        f"{part.record.details['name']}-{one}"
        for part in (north, south)
        for one in read_manifest(part.folder)["image_id"]
    }
    assert set(rows["image_id"]) == before
    assert output.record.counts == {"images": 22, "patients": 22, "groups": 22, "with_mask": 10, "set_aside": 0}
    assert output.record.details["counts_by_origin"] == {"north": 12, "south": 10}
    assert set(rows[rows["origin"] == "south"]["site"]) == {"south Clinic"}
    assert set(rows[rows["origin"] == "north"]["site"]) == {"north"}
    assert {"north-P000", "south-P000"} <= set(rows["patient_id"])
    assert set(rows["split"]) == {"train", "val", "test"}
    row = rows[rows["image_id"] == "south-p003_os"].iloc[0]
    old = read_manifest(south.folder).set_index("image_id").loc["p003_os"]
    assert (output.folder / row["image"]).samefile(south.folder / old["image"])
    assert (output.folder / row["mask"]).samefile(south.folder / old["mask"])


def test_the_order_does_not_count_and_a_second_call_reuses(
    north: StageOutput, south: StageOutput, workspace: Workspace
) -> None:
    first = merge([north.folder, south.folder], "both", workspace)
    again = merge([south.folder, north.folder], "both", workspace)
    other = merge([south.folder, north.folder], "both", workspace, MergeSettings.model_validate({"split": {"seed": 1}}))
    assert again.reused
    assert again.folder == first.folder
    assert other.key != first.key


def test_a_photograph_in_two_datasets_stays_on_one_side_in_any_form(
    make: Make, photo: Bytes, workspace: Workspace
) -> None:
    pixels = cv2.imdecode(np.frombuffer(photo(3, 96), np.uint8), cv2.IMREAD_COLOR)
    make("first", class_folders(range(1, 13), photo) | {"glaucoma/x.png": encoded(pixels, ".png")})
    copies = {
        "glaucoma/bytes.png": encoded(pixels, ".png"),
        "glaucoma/pixels.bmp": encoded(pixels, ".bmp"),
        "glaucoma/small.png": encoded(cv2.resize(pixels, (80, 80), interpolation=cv2.INTER_AREA), ".png"),
        "glaucoma/mirrored.png": encoded(pixels[:, ::-1], ".png"),
    }
    make("second", class_folders(range(40, 52), photo) | copies)
    folders = [workspace.find(workspace.datasets(name), None, "dataset") for name in ("first", "second")]
    output = merge(folders, "both", workspace)
    rows = read_manifest(output.folder).set_index("image_id")
    same = ["first-x", *(f"second-{name}" for name in ("bytes", "pixels", "small", "mirrored"))]
    assert rows.loc[same, "group"].nunique() == 1
    assert rows.loc[same, "split"].nunique() == 1
    shared = output.record.details["shared_photographs"]
    assert sum(shared["by_rung"].values()) == len(shared["links"]) >= 1
    assert {link["first"].split("-")[0] for link in shared["links"]} == {"first"}
    assert shared["same_pixels"] == 3


def test_a_photograph_of_a_patient_that_both_datasets_name_is_counted_as_shared(
    make: Make, photo: Bytes, workspace: Workspace
) -> None:
    """They are one group by their patient, so no link says that they are the same photograph."""
    both = {f"{'glaucoma' if n % 2 else 'normal'}/IM{n:06d}_{eye}.JPG": photo(2 * n + (eye == "R"))
            for n in range(8) for eye in "LR"}  # fmt: skip
    folders = [make(name, both).folder for name in ("first", "second")]
    shared = merge(folders, "both", workspace).record.details["shared_photographs"]
    assert shared["same_pixels"] == 32
    assert shared["by_rung"] == {}


def test_what_a_collection_of_collections_took_is_found_by_its_original_name(make: Make, workspace: Workspace) -> None:
    """The two files have nothing in common: as where one was cropped and the other was not."""
    own = {
        f"{'glaucoma' if n % 2 else 'normal'}/IM{n:06d}_L.JPG": encoded(photograph(f"own {n}"), ".png")
        for n in range(8)
    }
    make("hospital", own)
    heads = ["names", "types", "original_name", "patient_id", "eye", "fundus", "fundus_od_seg", "fundus_oc_seg"]
    rows = [[f"BEH-{n}", n % 2, f"IM{n:06d}_L.JPG", "", "", f"/full-fundus/BEH-{n}.png", "", ""] for n in range(4)]
    rows += [[f"ORIGA-{n}", n % 2, f"{n:03d}.jpg", "", "", f"/full-fundus/ORIGA-{n}.png", "", ""] for n in range(8)]
    files = {str(row[5])[1:]: encoded(photograph(f"gathered {row[0]}"), ".png") for row in rows}
    make("gathered", files | {"metadata - standardized.csv": table([heads, *rows])})
    folders = [workspace.find(workspace.datasets(name), None, "dataset") for name in ("hospital", "gathered")]
    output = merge(folders, "both", workspace)
    found = read_manifest(output.folder).set_index("image_id")
    for n in range(4):
        pair = [f"gathered-beh-{n}", f"hospital-im{n:06d}_l"]
        assert found.loc[pair, "group"].nunique() == 1
        assert found.loc[pair, "patient_id"].nunique() == 1
    assert found.loc["gathered-origa-4", "origin"] == "ORIGA"
    assert found["group"].nunique() == 8 + 8


def test_one_patient_number_in_two_hospitals_is_two_patients(
    north: StageOutput, make: Make, photo: Bytes, workspace: Workspace
) -> None:
    other = make("west", class_folders(range(200, 212), photo, patients=True))
    rows = read_manifest(merge([north.folder, other.folder], "both", workspace).folder)
    assert rows["patient_id"].nunique() == rows["group"].nunique() == 24


def test_given_splits_are_kept_on_request_and_a_photograph_on_two_sides_is_named(
    north: StageOutput, south: StageOutput, make: Make, photo: Bytes, workspace: Workspace
) -> None:
    keep = MergeSettings.model_validate({"split": {"keep_given": True}})
    output = merge([north.folder, south.folder], "both", workspace, keep)
    rows = read_manifest(output.folder).set_index("image_id")
    for part in (north, south):
        for row in read_manifest(part.folder).itertuples():
            assert rows.loc[f"{part.record.details['name']}-{row.image_id}", "split"] == row.split
    own = read_manifest(north.folder)
    taken = {split: int(Path(own[own["split"] == split]["source"].iloc[0]).stem[1:4]) for split in ("train", "test")}
    files = class_folders(range(300, 312), photo)
    files = {f"train/{name}": content for name, content in files.items()}
    files["test/glaucoma/copy.png"] = photo(taken["train"])
    files["test/normal/own.png"] = photo(999)
    leaking = make("leaking", files)
    with pytest.raises(LeakageError, match="leaking-copy"):
        merge([north.folder, leaking.folder], "kept", workspace, keep)
    assert merge([north.folder, leaking.folder], "anew", workspace).record.counts["images"] == 26


def test_a_whole_collection_or_a_fold_may_be_the_test(
    north: StageOutput, south: StageOutput, workspace: Workspace
) -> None:
    parts = [north.folder, south.folder]
    site = {"split": {"scheme": "leave_one_site_out", "held_out_site": "north"}}
    rows = read_manifest(merge(parts, "site", workspace, MergeSettings.model_validate(site)).folder)
    assert set(rows[rows["split"] == "test"]["origin"]) == {"north"}
    assert set(rows[rows["split"] != "test"]["origin"]) == {"south"}
    fold = {"split": {"scheme": "k_fold", "folds": 3, "fold": 2}}
    rows = read_manifest(merge(parts, "fold", workspace, MergeSettings.model_validate(fold)).folder)
    assert set(rows["fold"]) == {"0", "1", "2"}
    assert set(rows[rows["split"] == "test"]["fold"]) == {"2"}


def test_two_datasets_of_one_class_make_one_of_two(make: Make, photo: Bytes, workspace: Workspace) -> None:
    one = make("ill", {f"glaucoma/{n}.png": photo(n) for n in range(6)}, allow_one_class=True)
    two = make("well", {f"normal/{n}.png": photo(50 + n) for n in range(6)}, allow_one_class=True)
    more = make("more", {f"normal/{n}.png": photo(70 + n) for n in range(6)}, allow_one_class=True)
    output = merge([one.folder, two.folder], "both", workspace)
    assert output.record.details["counts_by_label"] == {"glaucoma": 6, "normal": 6}
    with pytest.raises(DatasetError, match=r"one class only together: more: .*well: "):
        merge([two.folder, more.folder], "healthy", workspace)


def test_merged_datasets_can_be_merged_again(
    north: StageOutput, south: StageOutput, make: Make, photo: Bytes, workspace: Workspace
) -> None:
    both = merge([north.folder, south.folder], "both", workspace)
    west = make("west", class_folders(range(400, 410), photo))
    output = merge([both.folder, west.folder], "all", workspace)
    rows = read_manifest(output.folder)
    assert output.record.details["counts_by_origin"] == {"north": 12, "south": 10, "west": 10}
    assert "north-P000" in set(rows["patient_id"])
    assert "both-south-p003_os" in set(rows["image_id"])


def test_what_cannot_be_merged_is_said_and_leaves_nothing(
    north: StageOutput, south: StageOutput, workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="into both are north"):
        merge([north.folder], "both", workspace)
    with pytest.raises(SettingsError, match="are north twice"):
        merge([north.folder, north.folder], "both", workspace)
    with pytest.raises(SettingsError, match="none of them south"):
        merge([north.folder, south.folder], "south", workspace)
    with pytest.raises(NotFoundError, match="is no dataset"):
        merge([north.folder, tmp_path], "both", workspace)
    image = south.folder / read_manifest(south.folder)["image"].iloc[0]
    content = bytearray(image.read_bytes())
    content[-20] ^= 1
    image.unlink()
    image.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="not what its manifest says"):
        merge([north.folder, south.folder], "both", workspace)
    assert not list(workspace.datasets("both").glob("*"))


def test_a_merged_dataset_is_prepared_like_any_other(
    north: StageOutput, south: StageOutput, workspace: Workspace
) -> None:
    both = merge([north.folder, south.folder], "both", workspace)
    ready = preprocess(both.folder, "both", workspace, PreprocessSettings(image_size_px=64))
    assert ready.record.counts["images"] == 22
    assert set(read_manifest(ready.folder)["origin"]) == {"north", "south"}


def test_hashes_in_a_manifest_are_those_of_the_files(north: StageOutput, workspace: Workspace) -> None:
    for row in read_manifest(north.folder).itertuples():
        found = fingerprint(north.folder / row.image)
        assert (found.perceptual_hash, found.mirrored_hash) == (row.perceptual_hash, row.mirrored_hash)


def test_a_manifest_of_an_earlier_release_can_be_merged(
    north: StageOutput, south: StageOutput, workspace: Workspace
) -> None:
    rows = read_manifest(north.folder)
    write_manifest(north.folder, rows.drop(columns=["mirrored_hash", "original_name", "origin"]))
    rows = read_manifest(merge([north.folder, south.folder], "both", workspace).folder)
    assert set(rows["origin"]) == {"north", "south"}


def test_a_collection_has_one_name() -> None:
    assert collection("REFUGE1") == collection("refuge_bundled") == "refuge"
    assert collection("DRISHTI-GS1") == collection("drishti_gs1")
