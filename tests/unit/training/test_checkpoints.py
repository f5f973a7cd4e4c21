from pathlib import Path

import pytest
import torch

from glaucoma.errors import IntegrityError
from glaucoma.training.checkpoints import BEST, LAST, PREVIOUS, Checkpoints


def payload(epoch: int, best_epoch: int = 0) -> dict:
    return {
        "experiment_id": "cls-x-1",
        "state": {"epoch": epoch, "best_epoch": best_epoch},
        "model": {"weight": torch.full((64,), float(epoch))},
    }


def flip_a_bit(path: Path, position: int = 300) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture
def notes() -> list[str]:
    return []


def test_the_last_two_are_kept(checkpoints, notes):
    for epoch in (1, 2, 3):
        checkpoints.save_last(payload(epoch))
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 3
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["checkpoints.sha256", LAST, PREVIOUS]
    assert notes == []


@pytest.mark.parametrize("position", [0, 300, -1])
def test_a_damaged_last_one_is_set_aside_and_the_one_before_is_used(checkpoints, notes, position):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))
    flip_a_bit(checkpoints.folder / LAST, position)
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert (checkpoints.folder / "last.pt.damaged-1").is_file()
    assert not (checkpoints.folder / LAST).exists()
    assert "last.pt differs from its recorded hash" in notes[0]


def test_a_truncated_last_one_is_set_aside(checkpoints, notes):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))
    last = checkpoints.folder / LAST
    last.write_bytes(last.read_bytes()[:100])
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1


def test_a_damaged_last_one_never_pushes_out_the_good_one_before(checkpoints, notes):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))
    flip_a_bit(checkpoints.folder / LAST)
    checkpoints.save_last(payload(3))
    flip_a_bit(checkpoints.folder / LAST)
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1


def test_with_both_damaged_there_is_nothing_to_resume(checkpoints, notes):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))
    for name in (LAST, PREVIOUS):
        flip_a_bit(checkpoints.folder / name)
    assert checkpoints.load_last(notes.append) is None
    assert len(notes) == 3


def test_after_a_crash_between_the_two_renames_the_one_before_is_used(checkpoints, notes):
    checkpoints.save_last(payload(1))
    (checkpoints.folder / LAST).rename(checkpoints.folder / PREVIOUS)  # as if killed before the new one took its place
    (checkpoints.folder / ".last.pt.partial-1").write_bytes(b"half")
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert not (checkpoints.folder / ".last.pt.partial-1").exists()


def test_a_file_from_elsewhere_is_not_trusted(checkpoints, tmp_path, notes):
    other = Checkpoints(tmp_path / "other")
    other.save_last(payload(9))
    checkpoints.folder.mkdir()
    (other.folder / LAST).rename(checkpoints.folder / LAST)
    assert checkpoints.load_last(notes.append) is None


def test_without_its_best_model_a_state_is_not_resumed(checkpoints, notes):
    checkpoints.save_best(payload(1, best_epoch=1))
    checkpoints.save_last(payload(2, best_epoch=1))
    flip_a_bit(checkpoints.folder / BEST)
    assert checkpoints.load_last(notes.append) is None
    assert any("begins anew" in note for note in notes)


def test_a_damaged_best_model_is_refused(checkpoints):
    checkpoints.save_best(payload(1, best_epoch=1))
    flip_a_bit(checkpoints.folder / BEST)
    with pytest.raises(IntegrityError, match="differs from its recorded hash"):
        checkpoints.load_best()


def test_a_missing_best_model_is_told(checkpoints):
    with pytest.raises(IntegrityError, match="missing"):
        checkpoints.load_best()


def test_what_could_not_be_loaded_again_is_not_saved(checkpoints):
    with pytest.raises(TypeError, match="PosixPath at payload"):
        checkpoints.save_best({**payload(1), "scores": {"auc": Path("/")}})
