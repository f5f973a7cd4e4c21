"""Resume, from the command line's model and the form: what goes on, what is refused, and what the books say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Crashed
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, is_valid_schema, validate

from flows import resume as module
from flows.configs import HousekeepingConfig, ResumeConfig
from flows.experiment import experiment
from flows.hooks import cancel_awaited_runs, write_end
from flows.housekeeping import housekeeping
from flows.planned_experiment import planned_experiment
from flows.research_cycle import research_cycle
from flows.resume import resume
from flows.train import train
from glaucoma.errors import TrainingError
from glaucoma.records.ended import TrainingRun, note_run
from glaucoma.records.ledger import Ledger
from glaucoma.records.resumable import NotResumableError
from glaucoma.records.words import Standing
from glaucoma.training.experiment import Experiment, Status, create_experiment
from glaucoma.training.settings import ExecutionSettings
from glaucoma.workspace import Workspace

AS_BEFORE = ExecutionSettings(device="cpu", threads=1, retries=0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture
def cut_off(tiny: Any, workspace: Workspace) -> Callable[..., Experiment]:
    """An experiment that was begun and then cut off."""

    def make(seed: int = 0, status: Status = Status.CANCELLED) -> Experiment:
        spec = tiny.tiny_spec(seed=seed)
        note_run(spec, workspace, TrainingRun(run_id="before", execution=AS_BEFORE))
        made = create_experiment(spec, workspace)
        made.set_status(status, "as it was")
        return made

    return make


@pytest.fixture
def went_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ExecutionSettings]]:
    """What was trained, evaluated and explained, in place of doing so."""
    done: list[tuple[str, ExecutionSettings]] = []

    def run(spec: Any, workspace: Workspace, execution: ExecutionSettings, *_: Any) -> Any:
        done.append((create_experiment(spec, workspace).experiment_id, execution))
        return None

    monkeypatch.setattr(module, "remembered_experiment", run)
    monkeypatch.setattr(module, "ResumeResult", lambda experiments: experiments)
    return done


def config(workspace: Workspace, **more: Any) -> ResumeConfig:
    return ResumeConfig.model_validate({"workspace": workspace.root, "preset": "smoke", **more})


def test_one_goes_on_as_its_last_run_did(
    cut_off: Callable[..., Experiment], workspace: Workspace, went_on: list[tuple[str, ExecutionSettings]]
) -> None:
    wanted = cut_off(1)
    cut_off(2)
    resume(config(workspace, experiment=wanted.experiment_id))
    assert went_on == [(wanted.experiment_id, AS_BEFORE)]


def test_without_a_name_all_that_were_cut_off_go_on(
    cut_off: Callable[..., Experiment], workspace: Workspace, went_on: list[tuple[str, ExecutionSettings]]
) -> None:
    wanted = {cut_off(1).experiment_id, cut_off(2, Status.RUNNING).experiment_id}
    failed = cut_off(3, Status.FAILED).experiment_id
    resume(config(workspace, execution={"threads": 2}))
    assert {name for name, _ in went_on} == wanted
    assert {execution.threads for _, execution in went_on} == {2}
    went_on.clear()
    resume(config(workspace, retry_failed=True))
    assert {name for name, _ in went_on} == {*wanted, failed}


def test_one_that_fails_again_keeps_no_other_from_going_on_and_the_run_fails(
    cut_off: Callable[..., Experiment], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(cut_off(seed).experiment_id for seed in range(3))
    tried = []

    def fails(spec: Any, *_: Any) -> None:
        tried.append(spec)
        raise TrainingError("the loss became infinite")

    monkeypatch.setattr(module, "remembered_experiment", fails)
    with pytest.raises(TrainingError, match=rf"3 of 3 experiments were not completed \({names[0]}: the loss"):
        resume(config(workspace))
    assert len(tried) == 3


def test_one_that_failed_by_itself_is_refused(cut_off: Callable[..., Experiment], workspace: Workspace) -> None:
    failed = cut_off(1, Status.FAILED)
    with pytest.raises(NotResumableError, match="failed by itself"):
        resume(config(workspace, experiment=failed.experiment_id))


def test_the_worker_writes_how_a_run_ended_that_could_not(
    cut_off: Callable[..., Experiment], workspace: Workspace, tiny: Any
) -> None:
    with get_client(sync_client=True) as client:
        run: FlowRun = client.create_flow_run(train, parameters={"config": {"workspace": str(workspace.root)}})
    lost = cut_off(1, Status.RUNNING)
    other = cut_off(2, Status.RUNNING)
    note_run(lost.spec, workspace, TrainingRun(run_id=str(run.id), execution=AS_BEFORE))
    write_end(flow=train, flow_run=run, state=Crashed(message="exit code -9"))
    assert (lost.status, other.status) == (Status.INTERRUPTED, Status.RUNNING)
    entry = Ledger(workspace.ledger_url).experiment(lost.experiment_id)
    assert (entry.status, entry.reason) == (Standing.INTERRUPTED, "The process of its run was lost (exit code -9)")
    write_end(flow=train, flow_run=run, state=Cancelling())
    assert lost.status is Status.CANCELLED


TRAINS = [train, experiment, planned_experiment, resume, research_cycle]


@pytest.mark.parametrize("one", TRAINS, ids=lambda one: one.name)
def test_every_flow_that_trains_has_its_end_written(one: Flow[..., Any]) -> None:
    assert one.on_cancellation_hooks == [*([cancel_awaited_runs] if one is research_cycle else []), write_end]
    assert one.on_crashed_hooks == [write_end]


# --- the forms


@pytest.fixture(autouse=True)
def _program_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/flows/resume.py"])


def form(of: Flow[..., Any]) -> dict[str, Any]:
    schema: dict[str, Any] = parameter_schema(of).model_dump_for_openapi()
    is_valid_schema(schema)
    return schema


@pytest.mark.parametrize(
    ("of", "given"),
    [
        (resume, {}),
        (resume, {"experiment": "cls-small_cnn-0123abcd", "execution": {"threads": 2, "rollback": True}}),
        (resume, {"retry_failed": True, "execution": None}),
        (housekeeping, {}),
        (housekeeping, {"dry_run": False, "keep": {"max_age_days": 90, "keep_newest": None, "max_total_gb": 50.5}}),
    ],
)
def test_the_form_takes_what_the_flow_takes(of: Flow[..., Any], given: dict[str, Any]) -> None:
    validate({"config": given}, form(of), raise_on_error=True)
    (ResumeConfig if of is resume else HousekeepingConfig).model_validate(given)


@pytest.mark.parametrize(
    ("of", "given"),
    [
        (resume, {"experiment": 7}),
        (resume, {"execution": {"retries": -1}}),
        (resume, {"only": "this"}),
        (housekeeping, {"keep": {"keep_newest": 0}}),
        (housekeeping, {"keep": {"max_age_days": -1}}),
        (housekeeping, {"dryrun": False}),
    ],
)
def test_the_form_refuses_what_the_flow_refuses(of: Flow[..., Any], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validate({"config": given}, form(of), raise_on_error=True)
    with pytest.raises(ValueError, match="validation error"):
        (ResumeConfig if of is resume else HousekeepingConfig).model_validate(given)


def test_every_setting_of_the_forms_is_described() -> None:
    for of in (resume, housekeeping):
        for name, model in form(of)["definitions"].items():
            for field, described in model.get("properties", {}).items():
                assert described.get("description"), f"{name}.{field}"


# --- housekeeping


def test_housekeeping_only_says_what_it_would_remove_unless_told_to(
    cut_off: Callable[..., Experiment], workspace: Workspace
) -> None:
    broken, kept = cut_off(1, Status.FAILED), cut_off(2)
    settings: dict[str, Any] = {"workspace": workspace.root, "keep": {"grace_days": 0}}
    said = housekeeping(HousekeepingConfig.model_validate(settings))
    assert (said.dry_run, said.removed, [one.experiment_id for one in said.removals]) == (
        True,
        [],
        [broken.experiment_id],
    )
    assert said.bytes_planned > 0
    assert broken.folder.exists()
    done = housekeeping(HousekeepingConfig.model_validate({**settings, "dry_run": False}))
    assert done.removed == [f"experiments/{broken.experiment_id}"]
    assert not broken.folder.exists()
    assert kept.folder.exists()
    assert "were removed" in Ledger(workspace.ledger_url).experiment(broken.experiment_id).reason
