from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from glaucoma.datasets.manifest import read_manifest
from glaucoma.errors import DatasetError, DiskSpaceError, SettingsError
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import CentreCrop, Clahe, DiscCrop, FieldCrop, PreprocessSettings, Resize, Step
from glaucoma.schema import Column, GeometryColumn
from glaucoma.workspace import Workspace

Pictures = Callable[..., np.ndarray]
CHAIN = (FieldCrop(), CentreCrop(), Resize(), Clahe(tiles=2))
SMALL = PreprocessSettings(image_size_px=64, steps=CHAIN, max_set_aside_share=0.2)


def small(*steps: Step) -> PreprocessSettings:
    return PreprocessSettings(image_size_px=64, steps=steps, max_set_aside_share=0.2)


def pixels(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_pictures_arrays_and_manifest_agree_row_by_row(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    masks = [retina_mask() if index % 3 else None for index in range(12)]
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)], masks)
    output = preprocess(dataset, "tiny", workspace, SMALL)
    manifest = read_manifest(output.folder / "manifest.csv")
    images = np.load(output.folder / "images.npy", mmap_mode="r")
    packed_masks = np.load(output.folder / "masks.npy", mmap_mode="r")
    fields = np.load(output.folder / "fields.npy", mmap_mode="r")
    assert images.shape == (12, 64, 64, 3)
    assert packed_masks.shape == fields.shape == (12, 64, 64)
    for place, row in enumerate(manifest.to_dict("records")):
        assert (pixels(output.folder / row[Column.IMAGE])[..., ::-1] == images[place]).all()
        if row[Column.MASK]:
            assert (pixels(output.folder / row[Column.MASK]) == packed_masks[place]).all()
            assert set(np.unique(packed_masks[place])) == {0, 1, 2}
        else:
            assert not packed_masks[place].any()
    assert (manifest[[Column.WIDTH, Column.HEIGHT]] == 64).all(axis=None)
    assert list(manifest[Column.SHA256]) == list(read_manifest(dataset / "manifest.csv")[Column.SHA256])
    assert set(np.unique(fields)) == {0, 1}
    assert not images[np.asarray(fields) == 0].any()


def test_the_record_says_what_training_needs(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)])
    record = preprocess(dataset, "tiny", workspace, SMALL).record
    assert record.counts["images"] == record.counts["round_fields"] == 12
    assert record.details["dataset_key"] == "0123456789abcdef"
    assert record.details["synthetic"] is True
    assert record.details["counts_by_split"]["train"] == {"glaucoma": 2, "normal": 2}


def test_the_geometry_leads_from_the_original_mask_to_the_prepared_one(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(400, seed=s) for s in range(6)], [retina_mask(400) for _ in range(6)])
    output = preprocess(dataset, "tiny", workspace, PreprocessSettings(image_size_px=256))
    row = read_manifest(output.folder / "manifest.csv").iloc[0]
    original = np.argwhere(pixels(dataset / "masks" / "im000.png") == 2).mean(axis=0)[::-1] + 0.5
    prepared = np.argwhere(pixels(output.folder / "masks" / "im000.png") == 2).mean(axis=0)[::-1] + 0.5
    origin = np.array([row[GeometryColumn.CROP_X_PX], row[GeometryColumn.CROP_Y_PX]])
    scale = np.array([row[GeometryColumn.SCALE_X], row[GeometryColumn.SCALE_Y]])
    assert prepared == pytest.approx((original - origin) * scale, abs=0.4)
    assert row[GeometryColumn.CROP_WIDTH_PX] * scale[0] == pytest.approx(256)


def test_the_number_of_threads_changes_no_byte(
    make_dataset: Callable[..., Path], retina_picture: Pictures, tmp_path: Path
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)])
    one = preprocess(dataset, "tiny", Workspace.at(tmp_path / "a"), SMALL, workers=1)
    four = preprocess(dataset, "tiny", Workspace.at(tmp_path / "b"), SMALL, workers=4)
    assert one.key == four.key
    for name in ("images.npy", "masks.npy", "fields.npy", "manifest.csv", "images/im003.png"):
        assert (one.folder / name).read_bytes() == (four.folder / name).read_bytes()


def test_a_second_call_finds_the_first_one_s_output(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    first = preprocess(dataset, "tiny", workspace, SMALL)
    second = preprocess(dataset, "tiny", workspace, SMALL)
    assert not first.reused
    assert second.reused
    assert second.folder == first.folder


def test_other_settings_give_another_output(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    other = small(*CHAIN[:3])
    assert preprocess(dataset, "tiny", workspace, SMALL).key != preprocess(dataset, "tiny", workspace, other).key


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"no image"), "cannot be decoded"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: cv2.imwrite(str(path), np.full((50, 50, 3), 90, np.uint8)), "SHA-256 differs"),
    ],
)
def test_one_bad_image_is_set_aside_with_its_reason_and_the_rest_keep_their_order(
    make_dataset: Callable[..., Path],
    retina_picture: Pictures,
    workspace: Workspace,
    damage: Callable[[Path], object],
    reason: str,
) -> None:
    dataset = make_dataset([retina_picture(seed=index, level=100 + 4 * index) for index in range(12)])
    damage(dataset / "images" / "im004.png")
    lines: list[float] = []
    output = preprocess(dataset, "tiny", workspace, SMALL, report=lambda share, _: lines.append(share))
    (aside,) = output.record.details["set_aside"]
    assert aside["image_id"] == "im004"
    assert reason in aside["reason"]
    ids = list(read_manifest(output.folder / "manifest.csv")[Column.IMAGE_ID])
    assert ids == [f"im{index:03d}" for index in range(12) if index != 4]
    images = np.load(output.folder / "images.npy")
    assert (images[4] == pixels(output.folder / "images" / "im005.png")[..., ::-1]).all()
    assert lines == sorted(lines)
    assert lines[-1] == 1.0


def test_a_mask_of_another_size_sets_the_image_aside(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    masks = [retina_mask(120) if index == 2 else None for index in range(12)]
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)], masks)
    (aside,) = preprocess(dataset, "tiny", workspace, SMALL).record.details["set_aside"]
    assert "120 x 120" in aside["reason"]


def test_too_many_bad_images_fail_and_leave_nothing(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)])
    for index in (1, 3, 5):
        (dataset / "images" / f"im{index:03d}.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"3 of the first 6 images .* im001"):
        preprocess(dataset, "tiny", workspace, SMALL)
    assert list(workspace.prepared("tiny").iterdir()) == []


def test_a_class_that_would_vanish_from_a_split_is_an_error(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    (dataset / "images" / "im003.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="no glaucoma in val"):
        preprocess(dataset, "tiny", workspace, SMALL)


def test_a_disc_that_the_crop_cuts_is_named(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    mask = np.zeros((160, 160), np.uint8)
    cv2.circle(mask, (16, 80), 8, 1, -1)
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)], [mask] * 6)
    record = preprocess(dataset, "tiny", workspace, SMALL).record
    assert record.counts["disc_cut"] == 6
    assert record.details["disc_cut"][0]["image_id"] == "im000"
    assert 0.2 < record.details["disc_cut"][0]["share_lost"] < 0.9


def test_without_cropping_the_whole_photograph_is_kept(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    manifest = read_manifest(preprocess(dataset, "tiny", workspace, small(Resize())).folder / "manifest.csv")
    assert (manifest[GeometryColumn.CROP_WIDTH_PX] == 160).all()
    assert (manifest[GeometryColumn.CROP_X_PX] == 0).all()


def test_a_full_disk_is_refused_before_anything_is_written(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(DiskSpaceError, match="6 prepared images"):
        preprocess(dataset, "tiny", workspace, SMALL)
    assert list(workspace.prepared("tiny").iterdir()) == []


def test_a_photograph_that_breaks_a_step_is_set_aside_and_the_rest_go_on(
    make_dataset: Callable[..., Path], retina_picture: Pictures, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset([retina_picture(seed=index, level=100 + 4 * index) for index in range(12)])
    broken = int(pixels(dataset / "images" / "im004.png")[..., 1].sum())

    def equalise(picture: np.ndarray, inside: np.ndarray, step: Clahe) -> np.ndarray:
        if int(picture[..., 1].sum()) == broken:
            raise cv2.error("out of bins")
        return picture

    monkeypatch.setattr("glaucoma.preprocessing.chain.equalise", equalise)
    output = preprocess(dataset, "tiny", workspace, small(Clahe(), Resize()), workers=2)
    (aside,) = output.record.details["set_aside"]
    assert (aside["image_id"], aside["reason"]) == ("im004", "the step clahe failed (error: out of bins)")
    assert output.record.counts["images"] == len(np.load(output.folder / "images.npy")) == 11


def test_a_photograph_without_a_disc_is_set_aside_or_keeps_its_field(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    masks = [retina_mask(), None, np.zeros((160, 160), np.uint8), *[retina_mask()] * 9]
    dataset = make_dataset([retina_picture(seed=index) for index in range(12)], masks)
    aside = preprocess(dataset, "tiny", workspace, small(FieldCrop(), DiscCrop(), Resize())).record
    assert {one["image_id"]: one["reason"] for one in aside.details["set_aside"]} == {
        "im001": "there is no mask to find the disc by",
        "im002": "the mask marks no disc",
    }
    kept = preprocess(dataset, "tiny", workspace, small(FieldCrop(), DiscCrop(without_disc="keep"), Resize()))
    assert kept.record.counts["without_disc"] == 2
    assert [one["image_id"] for one in kept.record.details["without_disc"]] == ["im001", "im002"]
    sides = read_manifest(kept.folder / "manifest.csv")[GeometryColumn.CROP_WIDTH_PX]
    assert (sides[[1, 2]] > 2.5 * sides[0]).all()


def test_a_disc_crop_shows_the_whole_disc_in_the_middle(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(400, seed=s) for s in range(6)], [retina_mask(400)] * 6)
    settings = PreprocessSettings(image_size_px=100, steps=(DiscCrop(side_disc_diameters=2.0), Resize()))
    output = preprocess(dataset, "tiny", workspace, settings)
    disc = np.load(output.folder / "masks.npy")[0] > 0
    rows, columns = np.nonzero(disc)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((50, 50), abs=1)
    assert np.ptp(rows) + 1 == pytest.approx(50, abs=2)
    assert output.record.counts["disc_cut"] == 0


class MarksTheDisc:
    """A disc model whose discs are those of `retina`, with a speck far away."""

    def __init__(self, key: str, mask: np.ndarray) -> None:
        self.key = key
        self.mask = mask.copy()
        self.mask[1:5, 1:5] = 1

    def __call__(self, photograph: np.ndarray) -> np.ndarray:
        assert photograph.shape[:2] == self.mask.shape
        return self.mask


def test_a_model_finds_the_disc_where_the_steps_name_an_experiment(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    settings = small(DiscCrop(experiment="seg-some-12345678"), Resize())
    output = preprocess(dataset, "tiny", workspace, settings, disc_model=MarksTheDisc("a", retina_mask()))
    row = read_manifest(output.folder / "manifest.csv").iloc[0]
    assert row[GeometryColumn.CROP_X_PX] + row[GeometryColumn.CROP_WIDTH_PX] / 2 == pytest.approx(48, abs=1)
    other = preprocess(dataset, "tiny", workspace, settings, disc_model=MarksTheDisc("b", retina_mask()))
    assert output.record.inputs["disc_model"] == "a"
    assert other.key != output.key
    with pytest.raises(SettingsError, match=r"names the experiment seg-some-12345678"):
        preprocess(dataset, "tiny", workspace, settings)


def test_a_model_that_no_step_asks_for_is_no_part_of_the_key(
    make_dataset: Callable[..., Path], retina_picture: Pictures, retina_mask: Pictures, workspace: Workspace
) -> None:
    dataset = make_dataset([retina_picture(seed=index) for index in range(6)])
    first = preprocess(dataset, "tiny", workspace, SMALL)
    assert preprocess(dataset, "tiny", workspace, SMALL, disc_model=MarksTheDisc("a", retina_mask())).key == first.key
