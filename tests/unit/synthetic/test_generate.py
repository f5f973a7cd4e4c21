from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from glaucoma.errors import DiskSpaceError, SettingsError
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings

SMALL = SyntheticSettings(patients=4, photo_height_px=96)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize("layout", SyntheticLayout)
def test_the_same_settings_give_the_same_bytes_on_any_number_of_threads(
    tmp_path: Path, layout: SyntheticLayout
) -> None:
    settings = SMALL.model_copy(update={"layout": layout})
    one = generate_archive(tmp_path / "one.zip", settings)
    other = generate_archive(tmp_path / "other.zip", settings, threads=3)
    assert one.sha256 == other.sha256
    assert one.path.read_bytes() == other.path.read_bytes()


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    one = generate_archive(tmp_path / "one.zip", SMALL)
    other = generate_archive(tmp_path / "other.zip", SMALL.model_copy(update={"seed": 1}))
    assert one.sha256 != other.sha256


def test_the_result_describes_the_file(tmp_path: Path) -> None:
    made = generate_archive(tmp_path / "deep" / "made.zip", SMALL)
    assert (made.images, made.patients, made.layout) == (8, 4, SyntheticLayout.IMAGES_MASKS)
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    with zipfile.ZipFile(made.path) as archive:
        assert archive.testzip() is None
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())


def test_progress_rises_to_one(tmp_path: Path) -> None:
    shares: list[float] = []
    generate_archive(tmp_path / "made.zip", SMALL, report=lambda share, line: shares.append(share), threads=2)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_failure_half_way_leaves_the_old_archive_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "made.zip"
    path.write_bytes(b"old")

    def stop(share: float, line: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_archive(path, SMALL, report=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["made.zip"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 0))
    with pytest.raises(DiskSpaceError, match="generated archive"):
        generate_archive(tmp_path / "made.zip", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_archives_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        generate_archive(tmp_path, SMALL)
