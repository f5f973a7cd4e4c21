from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.findings import require_valid
from glaucoma.datasets.normalize import normalize
from glaucoma.datasets.validate import validate
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.errors import ValidationFailedError
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.preprocessing.validate_prepared import validate_prepared
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings
from glaucoma.workspace import Workspace

NAME = "eyes"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    """A workspace with a validated and prepared dataset of 24 generated photographs with masks."""
    root = tmp_path_factory.mktemp("prepared")
    settings = SyntheticSettings(patients=12, photo_height_px=480, layout=SyntheticLayout.IMAGES_MASKS, seed=1)
    archive = generate_archive(root / "eyes.zip", settings).path
    workspace = Workspace.at(root / "workspace")
    dataset = normalize(unpack(archive, workspace), NAME, workspace)
    validate(dataset.folder, NAME, workspace, ValidateSettings())
    prepared = preprocess(dataset.folder, NAME, workspace, PreprocessSettings(image_size_px=256))
    return workspace, prepared.folder


@pytest.fixture
def copied(sound: tuple[Workspace, Path], tmp_path: Path) -> tuple[Workspace, Path]:
    """The same to spoil."""
    workspace = Workspace.at(tmp_path / "workspace")
    shutil.copytree(sound[0].root, workspace.root, dirs_exist_ok=True)
    return workspace, workspace.root / sound[1].relative_to(sound[0].root)


def judged(workspace: Workspace, prepared: Path, **settings: Any) -> Any:
    return validate_prepared(prepared, NAME, workspace, ValidateSettings(prepared=settings))


def test_a_sound_prepared_dataset_passes_every_expectation(copied: tuple[Workspace, Path]) -> None:
    output = judged(*copied)
    details = output.record.details
    assert (details["what"], details["passed"], details["critical"], details["warnings"]) == ("prepared", True, [], [])
    assert details["dataset_compared"]
    assert details["compared"] == 24
    checks = pd.read_csv(output.folder / "checks.csv")
    assert checks["picture_as_packed"].all()
    assert checks["disc_lost"].notna().all()
    assert checks["disc_lost"].max() < 0.02
    assert checks["field_share"].between(0.5, 1).all()
    assert judged(*copied).reused


def flip_packed(prepared: Path, manifest: pd.DataFrame) -> None:
    array = np.load(prepared / "images.npy", mmap_mode="r+")
    array[2, 5, 5, 0] ^= 1
    array.flush()


def other_mask(prepared: Path, manifest: pd.DataFrame) -> None:
    cv2.imwrite(str(prepared / manifest.loc[2, "mask"]), np.zeros((256, 256), np.uint8))


def unknown_value(prepared: Path, manifest: pd.DataFrame) -> None:
    array = np.load(prepared / "masks.npy", mmap_mode="r+")
    array[2, 0, 0] = 7
    array.flush()
    cv2.imwrite(str(prepared / manifest.loc[2, "mask"]), array[2])


def picture_gone(prepared: Path, manifest: pd.DataFrame) -> None:
    (prepared / manifest.loc[2, "image"]).unlink()


def smaller_picture(prepared: Path, manifest: pd.DataFrame) -> None:
    cv2.imwrite(str(prepared / manifest.loc[2, "image"]), np.zeros((100, 256, 3), np.uint8))


def crop_elsewhere(prepared: Path, manifest: pd.DataFrame) -> None:
    manifest.loc[2, "crop_x_px"] = 5000
    manifest.to_csv(prepared / "manifest.csv", index=False)


def wrong_scale(prepared: Path, manifest: pd.DataFrame) -> None:
    manifest.loc[2, "scale_y"] *= 1.01
    manifest.to_csv(prepared / "manifest.csv", index=False)


def other_label(prepared: Path, manifest: pd.DataFrame) -> None:
    manifest.loc[2, "label"] = "suspect"
    manifest.to_csv(prepared / "manifest.csv", index=False)


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (flip_packed, {"picture_as_packed"}),
        (other_mask, {"mask_as_packed"}),
        (unknown_value, {"mask_values_ok"}),
        (picture_gone, {"picture_readable"}),
        (smaller_picture, {"picture_size_ok", "picture_as_packed"}),
        (crop_elsewhere, {"crop_meets_source"}),
        (wrong_scale, {"scale_ok"}),
        (other_label, {"row_as_in_dataset", "counts_as_recorded"}),
    ],
)
def test_each_fault_is_critical_and_names_its_image(
    copied: tuple[Workspace, Path], change: Callable[[Path, pd.DataFrame], None], rules: set[str]
) -> None:
    workspace, prepared = copied
    manifest = pd.read_csv(prepared / "manifest.csv", dtype=str, keep_default_na=False)
    for column in ("crop_x_px", "scale_y"):
        manifest[column] = manifest[column].astype(float)
    change(prepared, manifest)
    output = judged(workspace, prepared)
    critical = {one["rule"]: one["images"] for one in output.record.details["critical"]}
    assert set(critical) == rules
    assert all(manifest.loc[2, "image_id"] in images for images in critical.values())
    with pytest.raises(ValidationFailedError):
        require_valid(output)


def test_arrays_of_another_shape_are_critical(copied: tuple[Workspace, Path]) -> None:
    workspace, prepared = copied
    np.save(prepared / "images.npy", np.load(prepared / "images.npy")[1:])
    (prepared / "fields.npy").write_bytes(b"no array")
    failures = {one["rule"] for one in judged(workspace, prepared).record.details["critical"]}
    assert failures == {"images_packed", "fields_packed"}


def test_a_disc_that_the_crop_cut_warns(copied: tuple[Workspace, Path]) -> None:
    workspace, prepared = copied
    masks = np.load(prepared / "masks.npy", mmap_mode="r+")
    manifest = pd.read_csv(prepared / "manifest.csv", dtype=str)
    rows = np.flatnonzero(masks[3].any(axis=1))
    masks[3, : rows[len(rows) // 2]] = 0
    masks.flush()
    cv2.imwrite(str(prepared / manifest.loc[3, "mask"]), masks[3])
    (warning,) = judged(workspace, prepared).record.details["warnings"]
    assert (warning["rule"], warning["images"]) == ("disc_kept", [manifest.loc[3, "image_id"]])


def test_without_its_dataset_and_with_few_compared_it_still_says_what_it_can(copied: tuple[Workspace, Path]) -> None:
    workspace, prepared = copied
    shutil.rmtree(workspace.datasets(NAME))
    shutil.rmtree(workspace.validations(NAME))
    details = judged(workspace, prepared, max_compared=5).record.details
    assert details["passed"]
    assert (details["compared"], details["dataset_compared"]) == (5, False)
    record = json.loads((prepared / "prepared.json").read_text())
    assert record["stage"] == "preprocess"
