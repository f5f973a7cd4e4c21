"""The task that trains: retries as the settings say, what is seen meanwhile, a cancel that only the server knows of."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact, State
from prefect.exceptions import Abort
from prefect.states import Cancelling

from glaucoma.errors import TrainingError, TransientError
from glaucoma.records.ended import TrainingRun, experiments_of_run, note_run_held
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import Standing
from glaucoma.training import supervise
from glaucoma.training.experiment import Experiment, Status, create_experiment
from glaucoma.training.progress_log import TrainingProgress, read_progress
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.workspace import Workspace
from tasks import own_run
from tasks import train as module
from tasks.own_run import LOOK_EVERY_S, OwnRun
from tasks.remember import failure_remembered
from tasks.stage import LONGEST_RETRY_DELAY_S, artifact_key
from tasks.train import train, train_with_retries

AT_ONCE = ExecutionSettings(device="cpu", threads=1, stall_timeout_s=240, stop_grace_s=10, first_retry_delay_s=0.01)


@pytest.fixture
def workspace(tiny: Any, tmp_path: Path) -> Workspace:
    tiny.make_prepared(tmp_path)
    return Workspace.at(tmp_path)


def artifacts(key: str) -> list[Artifact]:
    """All versions of an artifact."""
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


@pytest.mark.parametrize(
    ("execution", "retries", "delays"),
    [
        (ExecutionSettings(), 3, [60, 120, 240]),
        (ExecutionSettings(retries=0), 0, [0]),
        (ExecutionSettings(retries=2, first_retry_delay_s=1.5), 2, [1.5, 3]),
    ],
)
def test_retries_and_their_delays_are_those_of_the_settings(
    execution: ExecutionSettings, retries: int, delays: list[float]
) -> None:
    tried = train.retrying(execution.retries, execution.first_retry_delay_s)
    assert (tried.retries, tried.retry_delay_seconds) == (retries, delays)
    assert train.retries == 3, "the task itself stays as it is"


def test_no_delay_is_longer_than_a_day_and_prefect_takes_as_many_retries_as_the_settings_allow() -> None:
    delays = train.retrying(100, 60).retry_delay_seconds
    assert isinstance(delays, list)
    assert (len(delays), max(delays), delays[10]) == (50, LONGEST_RETRY_DELAY_S, 60 * 2**10)


@pytest.mark.parametrize(
    ("error", "retries", "attempts"),
    [(TransientError("lost"), 2, 3), (TransientError("lost"), 0, 1), (TrainingError("diverged"), 2, 1)],
)
def test_an_attempt_that_can_pass_is_made_again_as_often_as_the_settings_say(
    error: Exception, retries: int, attempts: int, tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[ExecutionSettings] = []

    def fails(spec: ExperimentSpec, workspace: Workspace, execution: ExecutionSettings, **_: Any) -> None:
        tried.append(execution)
        raise error

    monkeypatch.setattr(supervise, "train", fails)
    execution = AT_ONCE.model_copy(update={"retries": retries})
    with pytest.raises(type(error)):
        flow(lambda: train_with_retries(tiny.tiny_spec(), workspace, execution), name="attempts")()
    assert len(tried) == attempts


def test_an_attempt_whose_process_is_killed_is_followed_by_one_that_resumes_and_all_epochs_are_seen(
    tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.tiny_spec(epochs=40)
    real, killed = module.TrainingDisplay.__call__, []

    def kill_once(self: Any, progress: TrainingProgress) -> None:
        real(self, progress)
        if progress.val and progress.epoch >= 3 and not killed:
            killed.append(progress.epoch)
            raise TransientError("the machine coughed")

    monkeypatch.setattr(module.TrainingDisplay, "__call__", kill_once)
    experiment: Experiment = flow(lambda: train_with_retries(spec, workspace, AT_ONCE), name="resuming")()
    assert (experiment.status, experiment.metadata.attempts) == (Status.COMPLETED, 2)
    lines = read_progress(experiment.progress_path)
    assert [line.event for line in lines if line.event in ("start", "resume")] == ["start", "resume"]

    table = max(artifacts(artifact_key("epochs", experiment.experiment_id)), key=lambda one: one.updated)
    rows = json.loads(str(table.data))
    assert [row["epoch"] for row in rows] == list(range(1, 41)), "those of the first attempt too"
    assert {"loss", "learning rate", "images/s", "GPU memory MB", "GPU busy %", "waited for data %"} <= set(rows[0])
    picture = max(artifacts(artifact_key("curves", experiment.experiment_id)), key=lambda one: one.updated)
    assert picture.type == "image"
    assert "40 of 40 epochs" in str(picture.description)
    kind, _, content = str(picture.data).partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (768, 448)


def test_a_run_that_waited_for_another_runs_training_is_the_one_whose_end_is_written(
    tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = create_experiment(tiny.tiny_spec(), workspace)
    seen: list[str] = []

    def waits(*_: Any, report: Callable[[TrainingProgress], None], **__: Any) -> Experiment:
        seen.append(str(runtime.flow_run.id))
        note_run_held(experiment, TrainingRun(run_id="another", execution=AT_ONCE))
        report(TrainingProgress(time=datetime.now(UTC), event="begin"))
        return experiment

    monkeypatch.setattr(supervise, "train", waits)
    flow(lambda: train_with_retries(tiny.tiny_spec(), workspace, AT_ONCE), name="waited")()
    assert [found for found, _ in experiments_of_run(seen[0], workspace)] == [experiment]


def test_table_and_picture_are_changed_in_place(
    tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.tiny_spec(epochs=12)
    monkeypatch.setattr("tasks.live.Live.due", lambda self: True)
    experiment: Experiment = flow(lambda: train_with_retries(spec, workspace, AT_ONCE), name="showing")()
    for kind in ("epochs", "curves"):
        (one,) = artifacts(artifact_key(kind, experiment.experiment_id))
        assert one.created < one.updated
    (table,) = artifacts(artifact_key("epochs", experiment.experiment_id))
    assert len(json.loads(str(table.data))) == 12


def cancelling(then: Callable[[], None]) -> Callable[[Any, TrainingProgress], None]:
    """A display that cancels its own run in the server at its first epoch, as a person in Prefect's pages does."""
    real, asked = module.TrainingDisplay.__call__, []

    def call(self: Any, progress: TrainingProgress) -> None:
        if progress.val and not asked:
            asked.append(progress)
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(runtime.flow_run.id, Cancelling(), force=True)
            then()
        real(self, progress)

    return call


@pytest.mark.parametrize("rollback", [False, True])
def test_a_run_that_nobody_signals_sees_its_own_cancel_stops_its_training_and_ends_cancelled(
    rollback: bool, tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.tiny_spec(epochs=9000)
    experiment = Experiment(workspace.experiments / experiment_id(spec))
    runs: list[Any] = []
    monkeypatch.setattr(module, "OwnRun", lambda: OwnRun(look_every_s=0.0))
    monkeypatch.setattr(module.TrainingDisplay, "__call__", cancelling(lambda: None))

    @flow(name="cancelled")
    def training() -> None:
        runs.append(runtime.flow_run.id)
        with failure_remembered(spec, workspace, rollback=rollback):
            train_with_retries(spec, workspace, AT_ONCE)

    with pytest.raises(Abort, match="was cancelled in Prefect"):
        training()
    with get_client(sync_client=True) as client:
        state: State[Any] | None = client.read_flow_run(runs[0]).state
    assert state is not None
    assert state.is_cancelled()
    entry = Ledger(workspace.ledger_url).experiment(experiment.experiment_id)
    assert entry.status is Standing.CANCELLED
    assert experiment.folder.exists() is not rollback
    if not rollback:
        assert experiment.status is Status.CANCELLED
        assert (experiment.checkpoints / "last.pt").is_file()


def test_ctrl_c_leaves_the_experiment_cancelled_in_metadata_and_ledger(
    tiny: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.tiny_spec(epochs=9000)

    def interrupt(self: Any, progress: TrainingProgress) -> None:
        if progress.val:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.TrainingDisplay, "__call__", interrupt)

    @flow(name="by-hand")
    def training() -> None:
        with failure_remembered(spec, workspace):
            train_with_retries(spec, workspace, AT_ONCE)

    with pytest.raises(KeyboardInterrupt):
        training()
    experiment = create_experiment(spec, workspace)
    assert experiment.status is Status.CANCELLED
    entry = Ledger(workspace.ledger_url).experiment(experiment.experiment_id)
    assert (entry.status, entry.reason) == (Standing.CANCELLED, "Cancelled (KeyboardInterrupt)")


def test_a_server_that_is_away_cancels_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def away(*_: Any, **__: Any) -> None:
        raise httpx.ConnectError("refused")

    @flow(name="alone")
    def looking() -> str:
        monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.read_flow_run", away)
        watch = OwnRun(look_every_s=0.0)
        watch.require_wanted()
        watch.require_wanted()
        return "goes on"

    assert looking() == "goes on"


def test_the_server_is_asked_every_few_seconds_and_not_at_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(own_run, "run_is_cancelled", lambda run_id: asked.append(run_id) or False)
    monkeypatch.setattr(own_run.time, "monotonic", lambda: now[0])
    now = [0.0]
    watch = OwnRun()
    for tenth in range(200):
        now[0] = tenth / 10
        watch.require_wanted()
    assert len(asked) == int(19.9 // LOOK_EVERY_S)
