"""Experiments through a remote, between two workspaces that share no disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from glaucoma.datasets.remote import Remote
from glaucoma.errors import IntegrityError, NotFoundError, TransientError
from glaucoma.provenance import file_sha256
from glaucoma.records import shipping
from glaucoma.records.shipping import fetch_experiment, ship
from glaucoma.schema import Task
from glaucoma.training.experiment import CheckpointRecord, Experiment, Status, create_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import spec_from
from glaucoma.training.supervise import is_complete
from glaucoma.workspace import Workspace

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "here")


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "there")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path / "remote"))


@pytest.fixture
def experiment(workspace: Workspace) -> Experiment:
    """As training and evaluation leave it."""
    spec = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "tiny", "0" * 16)
    made = create_experiment(spec, workspace)
    for name in ("best.pt", "last.pt", "previous.pt"):
        (made.checkpoints / name).write_bytes(name.encode() * 100)
    (made.results / "0123").mkdir()
    (made.results / "0123" / "metrics.json").write_text("{}")
    (made.results / "val").symlink_to("0123")
    (made.results / ".4567.partial-1").mkdir()
    (made.results / ".4567.partial-1" / "half").write_text("half")
    (made.results / "passwords").symlink_to("/etc/passwd")
    best = CheckpointRecord(path="checkpoints/best.pt", sha256=file_sha256(made.checkpoints / "best.pt"), epoch=1)

    def complete(metadata: Any) -> None:
        metadata.checkpoint, metadata.status = best, Status.COMPLETED

    made.update(complete)
    return made


def names(experiment: Experiment) -> set[str]:
    return {p.relative_to(experiment.folder).as_posix() for p in experiment.folder.rglob("*") if not p.is_dir()}


def test_an_experiment_arrives_as_it_was_without_the_optimizers_state(
    experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote
) -> None:
    ship(experiment, workspace, remote, at=NOW)
    came = fetch_experiment(experiment.experiment_id, other, remote)
    assert is_complete(came)
    assert came.metadata == experiment.metadata
    assert came.spec == experiment.spec
    assert (came.results / "val").readlink() == Path("0123")
    assert (came.results / "val" / "metrics.json").read_text() == "{}"
    left = {"checkpoints/last.pt", "checkpoints/previous.pt", "results/.4567.partial-1/half", "results/passwords"}
    assert names(experiment) - names(came) == left | {".metadata.lock"}


def test_the_whole_of_it_can_be_sent_and_only_what_has_changed_travels_again(
    experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote
) -> None:
    first = ship(experiment, workspace, remote, at=NOW)
    assert first.sent == len({file.sha256 for file in first.files})
    assert ship(experiment, workspace, remote, at=NOW).sent == 0
    assert ship(experiment, workspace, remote, at=NOW, whole=True).sent == 2
    came = fetch_experiment(experiment.experiment_id, other, remote)
    assert (came.checkpoints / "last.pt").read_bytes() == (experiment.checkpoints / "last.pt").read_bytes()


def test_what_was_begun_here_is_left_as_it_is_and_what_was_only_named_is_replaced(
    experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote
) -> None:
    ship(experiment, workspace, remote, at=NOW)
    here = create_experiment(experiment.spec, other)
    assert here.status is Status.CREATED
    assert fetch_experiment(experiment.experiment_id, other, remote).status is Status.COMPLETED
    here.set_status(Status.INTERRUPTED)
    assert fetch_experiment(experiment.experiment_id, other, remote).status is Status.INTERRUPTED
    with here.lock(other), pytest.raises(TransientError, match="is being trained here"):
        fetch_experiment(experiment.experiment_id, other, remote)


def test_a_damaged_object_or_a_lost_one_brings_nothing(
    experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote
) -> None:
    shipment = ship(experiment, workspace, remote, at=NOW)
    folder = Path(remote.url) / "arc" / "experiments" / experiment.experiment_id
    path = folder / next(file.sha256 for file in shipment.files if file.path.endswith("best.pt"))
    content = path.read_bytes()
    for damage in (content[:-1], None):
        path.write_bytes(damage) if damage is not None else path.unlink()
        with pytest.raises(IntegrityError, match=r"checkpoints/best\.pt .*missing or damaged"):
            fetch_experiment(experiment.experiment_id, other, remote)
        assert list(other.experiments.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_id": "cls-other-00000000"},
        {"files": [{"path": "../../ledger.db", "sha256": "0" * 64, "bytes": 1}]},
        {"files": [{"path": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}]},
        {"files": [{"path": "results/val/x", "sha256": "0" * 64, "bytes": 1}]},
        {"links": {"results/val": "/etc"}},
        {"links": {"results/val": ".."}},
        {"links": {"../val": "x"}},
        {"more": 1},
    ],
)
def test_an_index_that_leads_out_of_the_folder_is_refused(
    change: dict[str, Any], experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote
) -> None:
    ship(experiment, workspace, remote, at=NOW)
    index = Path(remote.url) / "arc" / "experiments" / experiment.experiment_id / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(IntegrityError, match="is damaged"):
        fetch_experiment(experiment.experiment_id, other, remote)


@pytest.mark.parametrize("name", ["../x", "cls-x", "cls-../../x-00000000", ""])
def test_only_an_id_names_an_experiment(name: str, other: Workspace, remote: Remote) -> None:
    with pytest.raises(NotFoundError, match="no experiment's id"):
        fetch_experiment(name, other, remote)


def test_an_experiment_that_nobody_sent_is_told_with_the_way_to_it(other: Workspace, remote: Remote) -> None:
    with pytest.raises(NotFoundError, match="ARC_REMOTE_BLOCK"):
        fetch_experiment("cls-small_cnn-00000000", other, remote)


def test_a_send_that_is_cut_off_leaves_what_was_sent_before(
    experiment: Experiment, workspace: Workspace, other: Workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(experiment, workspace, remote, at=NOW)
    experiment.note("once more")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shipping.Shipment, "model_dump_json", killed)
    with pytest.raises(KeyboardInterrupt):
        ship(experiment, workspace, remote, at=NOW)
    assert fetch_experiment(experiment.experiment_id, other, remote).metadata.notes == []
