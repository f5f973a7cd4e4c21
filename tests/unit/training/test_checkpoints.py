import errno
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from glaucoma.errors import IntegrityError
from glaucoma.training import checkpoint_format
from glaucoma.training.checkpoint_fit import require_same_optimizer, require_same_scaler, require_same_tensors
from glaucoma.training.checkpoint_format import FORMAT
from glaucoma.training.checkpoints import BEST, LAST, PREVIOUS, Checkpoints, Identity

LIST = "checkpoints.sha256"
HERE = Identity("cls-x-1", {"epochs": 3, "augmentation": {"flip": True}, "weights_path": "/a", "seed": 0}, "ab" * 32)


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


def put(checkpoints: Checkpoints, name: str, content: bytes) -> None:
    """Lays `content` there as a file that the list of hashes names: only its content can give it away."""
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    (checkpoints.folder / name).write_bytes(content)
    with (checkpoints.folder / LIST).open("a") as handle:
        handle.write(f"{hashlib.sha256(content).hexdigest()}  {len(content)}  {name}\n")


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


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


def with_one_before(checkpoints: Checkpoints) -> None:
    """A good state, of which the next test's file takes the last place."""
    checkpoints.save_last(payload(1))
    (checkpoints.folder / LAST).rename(checkpoints.folder / PREVIOUS)


def whole(**changes) -> dict:
    return {"format": FORMAT, **payload(2), **changes}


class _RunsCode:
    def __reduce__(self):
        return os.system, ("touch /tmp/was-here",)


def recompressed(content: bytes) -> bytes:
    """The same members, compressed: some kilobytes could unfold to any size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    return buffer.getvalue()


def deep() -> list:
    value: list = []
    for _ in range(100):
        value = [value]
    return value


def endless() -> list:
    """A tree of 10 to the 8 nodes in a few bytes: each level names the one below ten times."""
    value: list = [0] * 10
    for _ in range(7):
        value = [value] * 10
    return value


HOSTILE = {
    "empty": b"",
    "text": b"nothing of the kind",
    "bare pickle": pickle.dumps({"format": FORMAT}),
    "runs code": saved(whole(model=_RunsCode())),
    "an object": saved(whole(scores=Path("/"))),
    "compressed": recompressed(saved(whole(model={"w": torch.zeros(1_000_000)}))),
    "no dict": saved([1, 2, 3]),
    "a tensor": saved(torch.zeros(3)),
    "another format": saved({**whole(), "format": 1}),
    "no format": saved(payload(2)),
    "no state": saved({key: value for key, value in whole().items() if key != "state"}),
    "no model": saved({key: value for key, value in whole().items() if key != "model"}),
    "state of text": saved(whole(state={"epoch": "2", "best_epoch": 0})),
    "negative epoch": saved(whole(state={"epoch": -1, "best_epoch": 0})),
    "epoch of truth": saved(whole(state={"epoch": True, "best_epoch": 0})),
    "not a number": saved(whole(model={"w": torch.tensor([1.0, float("nan")])})),
    "infinite": saved(whole(ema={"w": torch.tensor([float("inf")])})),
    "text for a tensor": saved(whole(model={"w": "1.0"})),
    "unfolds": saved(whole(model={"w": torch.zeros(1).expand(10_000_000)})),
    "sparse": saved(whole(model={"w": torch.zeros(4).to_sparse()})),
    "deep": saved(whole(scores=deep())),
    "endless": saved(whole(scores=endless())),
    "odd keys": saved(whole(scores={(1, 2): 3})),
    "list for moving average": saved(whole(ema=[1])),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_set_aside_with_a_reason_though_its_hash_is_listed(content, checkpoints, notes):
    with_one_before(checkpoints)
    put(checkpoints, LAST, content)
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert len(notes) == 1
    assert notes[0].startswith("last.pt ")
    assert notes[0].endswith("set aside as last.pt.damaged-1")
    assert not Path("/tmp/was-here").exists()


def test_a_file_of_absurd_size_is_refused_before_it_is_read(checkpoints, notes):
    with_one_before(checkpoints)
    with (checkpoints.folder / LAST).open("wb") as handle:
        handle.truncate(2**42)  # 4 TB of nothing: reading it would take hours
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert "4.4 TB" in notes[0]


@pytest.mark.parametrize("name", [LAST, PREVIOUS, BEST, LIST])
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_plain_file_is_set_aside_and_saving_goes_on(name, kind, checkpoints, notes, tmp_path):
    checkpoints.save_best(payload(1, best_epoch=1))
    for epoch in (1, 2):
        checkpoints.save_last(payload(epoch, best_epoch=1))
    path = checkpoints.folder / name
    path.rename(tmp_path / "moved")
    if kind == "folder":
        path.mkdir()
        (path / "inside").write_bytes(b"")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / ("moved" if kind == "link" else "nowhere"))
    fresh = Checkpoints(checkpoints.folder)
    found = fresh.load_last(notes.append)
    expected = {LAST: 1, PREVIOUS: 2, BEST: None, LIST: None}[name]
    assert (found["state"]["epoch"] if found else None) == expected
    assert f"{name} is no plain file" in notes[0]
    fresh.save_best(payload(3, best_epoch=3))
    for epoch in (3, 4):
        fresh.save_last(payload(epoch, best_epoch=3))
    assert Checkpoints(checkpoints.folder).load_last(pytest.fail)["state"]["epoch"] == 4


def test_a_file_that_may_not_be_read_is_set_aside(checkpoints, notes, monkeypatch):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))
    really = os.open

    def forbidden(path, *rest, **named):  # as root, permissions stop nobody
        if str(path).endswith(LAST):
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, *rest, **named)

    monkeypatch.setattr(os, "open", forbidden)
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert "cannot be opened" in notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00 not a list\n" * 50, b"a" * 2_000_000, b"0" * 64 + b"  -5  last.pt\n"]
)
def test_a_damaged_list_costs_the_checkpoints_and_no_more(content, checkpoints, notes):
    checkpoints.save_last(payload(1))
    (checkpoints.folder / LIST).write_bytes(content)
    fresh = Checkpoints(checkpoints.folder)
    assert fresh.load_last(notes.append) is None
    assert "begins anew" in notes[-1]
    fresh.save_last(payload(5))
    assert Checkpoints(checkpoints.folder).load_last(pytest.fail)["state"]["epoch"] == 5


def test_the_list_names_what_is_there_and_never_grows(checkpoints):
    for epoch in range(1, 30):
        checkpoints.save_best(payload(epoch, best_epoch=epoch))
        checkpoints.save_last(payload(epoch, best_epoch=epoch))
    hashes = {line.split()[0] for line in (checkpoints.folder / LIST).read_text().splitlines()}
    there = {hashlib.sha256((checkpoints.folder / n).read_bytes()).hexdigest() for n in (LAST, PREVIOUS, BEST)}
    assert there <= hashes
    assert len(hashes) <= 4


def test_only_the_newest_three_that_were_set_aside_are_kept(checkpoints, notes):
    for epoch in range(1, 7):
        checkpoints.save_last(payload(epoch))
        flip_a_bit(checkpoints.folder / LAST)
        checkpoints.load_last(notes.append)
    aside = sorted(path.name for path in checkpoints.folder.glob("*.damaged-*"))
    assert aside == ["last.pt.damaged-4", "last.pt.damaged-5", "last.pt.damaged-6"]


def test_other_data_and_other_settings_are_refused_with_the_differences(checkpoints, notes):
    checkpoints.save_last({**payload(1), "identity": HERE})
    other = Identity("cls-x-1", {**HERE.settings, "epochs": 5, "augmentation": {"flip": False}}, "cd" * 32)
    assert checkpoints.load_last(notes.append, other) is None
    for difference in (
        "epochs: there 3, here 5",
        "augmentation.flip: there True, here False",
        f"data_sha256: there {'ab' * 32}, here {'cd' * 32}",
    ):
        assert difference in notes[0]
    assert "seed" not in notes[0]


def test_another_experiments_checkpoint_is_refused_and_a_weights_file_may_move(checkpoints, notes):
    checkpoints.save_last({**payload(1), "identity": HERE})
    moved = Identity(HERE.experiment_id, {**HERE.settings, "weights_path": Path("/b")}, HERE.data_sha256)
    assert checkpoints.load_last(pytest.fail, moved) is not None
    foreign = Identity("cls-x-2", HERE.settings, HERE.data_sha256)
    assert checkpoints.load_last(notes.append, foreign) is None
    assert "experiment_id: there cls-x-1, here cls-x-2" in notes[0]


def test_many_differences_are_counted_rather_than_listed(checkpoints, notes):
    checkpoints.save_last({**payload(1), "identity": HERE})
    other = Identity("cls-x-1", {f"setting_{n}": n for n in range(50)}, HERE.data_sha256)
    checkpoints.load_last(notes.append, other)
    assert "and 45 more" in notes[0]
    assert len(notes[0]) < 1000


def test_a_checkpoint_that_says_nothing_of_whose_it_is_is_refused(checkpoints, notes):
    checkpoints.save_last(payload(1))
    assert checkpoints.load_last(notes.append, HERE) is None
    assert "experiment_id: there nothing, here cls-x-1" in notes[0]


def test_a_state_is_not_gone_on_from_with_another_experiments_best_model(checkpoints, notes):
    checkpoints.save_best({**payload(1, best_epoch=1), "identity": Identity("cls-y-9", {}, "")})
    checkpoints.save_last({**payload(1, best_epoch=1), "identity": HERE})
    assert checkpoints.load_last(notes.append, HERE) is None
    assert "experiment_id: there cls-y-9" in notes[0]


def test_a_best_model_of_a_course_begun_anew_is_not_taken_for_an_older_states(checkpoints, notes):
    checkpoints.save_last(payload(5, best_epoch=4))
    checkpoints.save_best(payload(1, best_epoch=1))
    assert checkpoints.load_last(notes.append) is None
    assert "another course" in notes[0]


def test_a_best_model_saved_after_the_state_that_is_left_is_met_again(checkpoints):
    checkpoints.save_best(payload(3, best_epoch=3))
    checkpoints.save_last(payload(2, best_epoch=1))
    assert checkpoints.load_last(pytest.fail)["state"]["epoch"] == 2


def test_without_a_best_model_an_older_state_that_needs_none_is_used(checkpoints, notes):
    checkpoints.save_last(payload(0))
    checkpoints.save_last(payload(1, best_epoch=1))
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 0


def test_what_does_not_fit_is_refused_by_who_loads_it(checkpoints, notes):
    checkpoints.save_last(payload(1))
    checkpoints.save_last(payload(2))

    def accept(found):
        if found["state"]["epoch"] == 2:
            raise IntegrityError("it does not fit")

    assert checkpoints.load_last(notes.append, None, accept)["state"]["epoch"] == 1
    assert notes == ["last.pt is refused: it does not fit: set aside as last.pt.damaged-1"]


def test_another_version_of_a_library_is_noted_and_not_refused(checkpoints, notes, monkeypatch):
    checkpoints.save_last(payload(1))
    there = checkpoint_format.made_with()
    monkeypatch.setattr(checkpoint_format, "made_with", lambda: {**there, "torch": "0.4.1", "threads": "7"})
    assert checkpoints.load_last(notes.append)["state"]["epoch"] == 1
    assert "here 0.4.1" in notes[0]
    assert "threads: there" in notes[0]
    assert "last bits" in notes[0]


def test_what_was_computed_otherwise_is_noted(tmp_path, notes):
    whole = {"devices": "1", "images at once": "4"}
    Checkpoints(tmp_path, whole).save_last(payload(1))
    assert Checkpoints(tmp_path, whole).load_last(pytest.fail)
    assert Checkpoints(tmp_path).load_last(pytest.fail)
    assert Checkpoints(tmp_path, {**whole, "images at once": "2"}).load_last(notes.append)
    assert "last.pt was made otherwise (images at once: there 4, here 2)" in notes[0]


@pytest.mark.parametrize("save", ["save_last", "save_best"])
@pytest.mark.parametrize("written", [0, 1])
def test_on_a_full_disk_the_old_ones_stay_and_nothing_half_written_does(save, written, checkpoints, monkeypatch):
    checkpoints.save_best(payload(1, best_epoch=1))
    for epoch in (1, 2):
        checkpoints.save_last(payload(epoch, best_epoch=1))
    before = {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()}
    really = Path.open

    class Full:
        def __init__(self, handle):
            self.handle, self.writes = handle, 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.handle.close()

        def write(self, content):
            self.writes += 1
            if self.writes > written:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.handle.write(content)

    monkeypatch.setattr(Path, "open", lambda path, mode="r", **named: Full(really(path, mode, **named)))
    with pytest.raises(OSError, match="No space left") as caught:
        getattr(checkpoints, save)(payload(3, best_epoch=3))
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()} == before
    assert checkpoints.load_last(pytest.fail)["state"]["epoch"] == 2


def test_saving_reads_no_file_that_this_process_wrote(checkpoints, monkeypatch):
    checkpoints.save_best(payload(1, best_epoch=1))
    checkpoints.save_last(payload(1, best_epoch=1))
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    for epoch in (2, 3):
        checkpoints.save_last(payload(epoch, best_epoch=1))


def test_the_returned_hash_is_that_of_the_files_bytes(checkpoints):
    sha256 = checkpoints.save_last(payload(1))
    assert sha256 == hashlib.sha256((checkpoints.folder / LAST).read_bytes()).hexdigest() == checkpoints.sha256(LAST)


def test_a_best_model_that_is_a_link_is_not_read(checkpoints, tmp_path):
    checkpoints.save_best(payload(1, best_epoch=1))
    (checkpoints.folder / BEST).rename(tmp_path / "elsewhere.pt")
    (checkpoints.folder / BEST).symlink_to(tmp_path / "elsewhere.pt")
    with pytest.raises(IntegrityError, match="no plain file"):
        checkpoints.load_best()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"a": torch.zeros(2)}, "b is missing"),
        ({"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}, "c is unknown"),
        ({"a": torch.zeros(2), "b": torch.zeros(4)}, r"b is float32 \(4,\), here float32 \(3,\)"),
        ({"a": torch.zeros(2), "b": torch.zeros(3, dtype=torch.int64)}, "b is int64"),
        ({"a": torch.zeros(2), "b": 3}, "b is a int"),
        (None, "is a NoneType"),
    ],
)
def test_a_state_dict_of_another_network_is_told_before_it_is_loaded(found, reason):
    with pytest.raises(IntegrityError, match=reason):
        require_same_tensors("model", found, {"a": torch.ones(2), "b": torch.ones(3)})


def test_an_optimizers_state_must_fit_its_weights():
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    require_same_optimizer(optimizer.state_dict(), optimizer)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    require_same_optimizer(state, optimizer)
    for wrong in (
        None,
        {},
        {**state, "param_groups": []},
        {**state, "param_groups": [{"params": [0]}]},
        {**state, "state": {7: {}}},
        {**state, "param_groups": [{**state["param_groups"][0], "maximize": True}]},
        {**state, "param_groups": [{**state["param_groups"][0], "betas": (0.0, 0.0)}]},
        {**state, "state": {0: {"exp_avg": torch.zeros(2, 3), "step": torch.zeros(())}}},
        {**state, "state": {0: {**state["state"][0], "step": torch.ones(2)}}},
        {**state, "state": {0: {**state["state"][0], "exp_avg": torch.zeros(5, 5)}}},
        {**state, "state": {0: {**state["state"][0], "exp_avg": torch.zeros(2, 3, dtype=torch.float64)}}},
        {**state, "state": {0: {**state["state"][0], "exp_avg_sq": torch.full((2, 3), float("nan"))}}},
    ):
        with pytest.raises(IntegrityError, match="optimizer"):
            require_same_optimizer(wrong, optimizer)


def test_the_state_of_a_loss_scaling_must_serve():
    wanted = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 0}
    require_same_scaler({**wanted, "scale": 0.5, "_growth_tracker": 7}, wanted)
    for wrong in (
        {},
        {"scale": 1.0},
        *({**wanted, "scale": scale} for scale in (float("nan"), float("inf"), 0.0, -1.0, "1")),
        {**wanted, "growth_factor": 3.0},
        {**wanted, "_growth_tracker": 1.5},
    ):
        with pytest.raises(IntegrityError, match="its scaler"):
            require_same_scaler(wrong, wanted)


def test_saving_is_affordable_while_it_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = 0.0

    def clock():  # each look at it is a second later, so each save takes a second
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr("glaucoma.training.checkpoints.time.monotonic", clock)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.affordable(), "nothing is known of the cost yet"
    checkpoints.save_last(payload(1))
    assert checkpoints.saving_s == 1.0
    assert not checkpoints.affordable()
    now = 97.0
    assert not checkpoints.affordable()
    now = 101.0
    assert checkpoints.affordable(), "two seconds of a hundred"
