"""Cancel: the flow runs that train an experiment are found by its id, cancelled, and waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelling

from glaucoma.errors import ArcError, InputError
from tasks.flow_runs import runs_in
from tasks.stage import stage_task

if TYPE_CHECKING:
    from glaucoma.records.words import Standing
    from glaucoma.training.experiment import Experiment
    from glaucoma.workspace import Workspace

_CYCLES = frozenset({"research-cycle", "research"})
_TRAIN = ("train", "experiment", "planned-experiment", "resume")
"""Flows that train; one that waits names the experiment in its settings, or in the tag of what submitted it."""
_OPEN = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
_LOOK_EVERY_S = 0.5
_LOCK_PATIENCE_S = 20.0


class NothingTrainsError(InputError):
    """No flow run trains the experiment or waits to."""


@dataclass(frozen=True)
class Cancelled:
    """What was cancelled, and how the experiment stands."""

    experiment_id: str
    runs: list[str] = field(default_factory=list)
    standing: Standing | None = None
    removed: bool = False


@stage_task(run_name="cancel {name}", timeout_s=26 * 3600, retries=0)
def cancel(name: str, workspace: Workspace, rollback: bool, whole_cycle: bool, patience_s: float) -> Any:
    """Cancels what trains the experiment, waits for its end, and writes that down.

    Raises:
        NotFoundError: There is no such experiment.
        NothingTrainsError: Nothing that this server knows trains it or waits to.
        ArcError: It had not ended in time.
    """
    from glaucoma.records.ended import end_training
    from glaucoma.training.experiment import open_experiment

    experiment = open_experiment(name, workspace)
    spec = experiment.spec
    with get_client(sync_client=True) as client:
        runs = runs_of(experiment, client)
        _require_cancellable(experiment, runs, client, workspace, whole_cycle)
        for run in runs:
            get_run_logger().info("Cancelling the flow run %s", run.name)
            client.set_flow_run_state(run.id, Cancelling(message=f"{name} was cancelled by its id"))
        _wait(experiment, [run.id for run in runs], client, workspace, patience_s)
    standing = end_training(
        spec,
        workspace,
        cancelled=True,
        rollback=rollback,
        reason="Cancelled by its id",
        at=datetime.now(UTC),
        patience_s=_LOCK_PATIENCE_S,
    )
    removed = rollback and not experiment.folder.exists()
    get_run_logger().info("%s is %s%s", name, standing, "; all that it wrote is removed" if removed else "")
    return Cancelled(name, [f"{run.name} ({run.id})" for run in runs], standing, removed)


def runs_of(experiment: Experiment, client: SyncPrefectClient) -> list[FlowRun]:
    """The flow runs that train the experiment, or wait to: the one that it noted, and those that name it."""
    from glaucoma.records.ended import run_of

    found: dict[UUID, FlowRun] = {}
    noted = run_of(experiment)
    if noted is not None and noted.run_id:
        try:
            run = client.read_flow_run(UUID(noted.run_id))
        except (ValueError, ObjectNotFound):
            pass  # of another server, or removed from this one
        else:
            if run.state is not None and not run.state.is_final():
                found[run.id] = run
    waiting = runs_in(client, _OPEN, _TRAIN)
    found.update({run.id: run for _, run in waiting if names(run, experiment.experiment_id)})
    return list(found.values())


def names(run: FlowRun, experiment_id: str) -> bool:
    """True where a flow run's settings name the experiment, or one of its tags does (`arc-batch:<id>:<digits>`)."""
    config = run.parameters.get("config")
    given = config.get("experiment") if isinstance(config, dict) else None
    tagged = {part for tag in run.tags if tag.startswith("arc-") for part in tag.replace("/", ":").split(":")}
    return experiment_id == given or experiment_id in tagged


def _require_cancellable(
    experiment: Experiment, runs: list[FlowRun], client: SyncPrefectClient, workspace: Workspace, whole_cycle: bool
) -> None:
    from glaucoma.training.claims import is_trained_now

    name = experiment.experiment_id
    if not runs:
        trained = is_trained_now(experiment, workspace)
        raise NothingTrainsError(
            f"{name} is being trained, by no flow run of this server" if trained else f"Nothing trains {name}",
            consequence="Nothing was cancelled",
            remedy="end it where it was started" if trained else f"it is {experiment.status}",
        )
    cycles = [run.name for run in runs if client.read_flow(run.flow_id).name in _CYCLES]
    if cycles and not whole_cycle:
        raise InputError(
            f"{name} is trained by the flow run of a whole cycle, {', '.join(cycles)}",
            consequence="Nothing was cancelled",
            remedy="set whole_cycle to cancel all of it; started again, it goes on where it was cut off",
        )


def _wait(
    experiment: Experiment, runs: list[UUID], client: SyncPrefectClient, workspace: Workspace, patience_s: float
) -> None:
    """Waits until every run has ended and nobody trains the experiment."""
    from glaucoma.training.claims import is_trained_now

    deadline = time.monotonic() + patience_s
    while True:
        states = [client.read_flow_run(run).state for run in runs]
        if all(state is not None and state.is_final() for state in states) and not (
            experiment.folder.exists() and is_trained_now(experiment, workspace)
        ):
            return
        if time.monotonic() > deadline:
            raise ArcError(
                f"{experiment.experiment_id} was cancelled and has not ended within {patience_s:g} s",
                consequence="It may still end",
                remedy="look at its flow run in Prefect's pages; is the worker that runs it online?",
            )
        time.sleep(_LOOK_EVERY_S)
