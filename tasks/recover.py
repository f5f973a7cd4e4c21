"""What takes the place of a run that was lost: new runs, each made once, and written down before."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Crashed, Scheduled

from glaucoma.errors import ArcError, NotFoundError, SettingsError
from glaucoma.roots import confined, is_workers_run
from glaucoma.workspace import Workspace
from tasks.stage import shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.records.recoveries import Recovery

Found = TypeVar("Found")
RESUME = "resume/resume"
WHOLE = frozenset({"research-cycle", "planned-experiment"})
"""Deployments that take up their own work when they are started again with the same parameters, once it is free."""
ALONE = frozenset({"train", "experiment"})
"""Deployments that are started again where they had not begun to train."""
AUTOMATION = "arc: what a crashed run was doing is taken up"
"""What takes crashes up as they happen; where a person has switched it off, nothing else does so either."""
_ITS_TURN = timedelta(minutes=3)
"""A crash is that automation's own matter for so long."""
_PAGE = 200
_HANDED_ON = ("workspace", "preset", "evaluate", "explain", "execution", "retry_failed")
"""Of the crashed run's settings, what its experiments go on with; `resume` knows all of them."""
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class RecoverOptions:
    """How a lost run is taken up.

    Args:
        delay_s: The new runs are scheduled so much later.
        most_per_experiment: So often an experiment is taken up in all; None: a person wants it, without a limit.
        most_again: So many crashes in a row of a whole cycle or planned experiment are answered by starting it again;
            None: a person wants it, without a limit.
        queue: Where runs of `resume` stand.
        instead: Of a queue for one GPU, that of the same urgency for any; None for every other queue.
    """

    delay_s: float
    most_per_experiment: int | None
    most_again: int | None
    queue: str
    instead: Callable[[str], str | None]


@stage_task(run_name="recover {run_id}", timeout_s=900, first_delay_s=5)
def recover_run(run_id: UUID, workspace: Workspace, options: RecoverOptions) -> Any:
    """Starts what takes the place of a crashed run, once; gives what was written down of it, or None.

    Called again for the same run it starts nothing twice: Prefect knows the new runs by their idempotency key.
    """
    from glaucoma.records.recoveries import Recoveries

    with get_client(sync_client=True) as client:
        run = _read(client, run_id)
        workspace = workspace_of_run(run.parameters, workspace)
        name = client.read_deployment(run.deployment_id).name if run.deployment_id else ""
        if why_not := _not_ours(run, name):
            get_run_logger().info("%s is not taken up: %s", run.name, why_not)
            return None
        recoveries = Recoveries(workspace)
        wanted = _wanted(run, name, workspace, recoveries, options)
        recovery, known = recoveries.begin(wanted, options.most_per_experiment)
        if known and recovery.started:
            get_run_logger().info("%s was taken up before, by %s", run.name, _ids(recovery.started))
            return recovery
        recovery = recoveries.finish(recovery, tuple(_start(client, run, recovery, options)))
    _tell(run, recovery, options)
    return recovery


@stage_task(run_name="what crashed and was not taken up", timeout_s=300, first_delay_s=5)
def missed_crashes(workspace: Workspace, look_back: timedelta) -> list[UUID]:
    """Runs whose crash nobody has answered, the oldest first: an event dies with the server that was to act on it.

    Empty where the automation that answers crashes is switched off.
    """
    now = datetime.now(UTC)
    span = FlowRunFilterEndTime(after_=now - look_back, before_=now - _ITS_TURN)
    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    missed = []
    with get_client(sync_client=True) as client:
        if any(not one.enabled for one in client.read_automations_by_name(AUTOMATION)):
            get_run_logger().info("The automation %r is switched off: nothing is taken up", AUTOMATION)
            return []
        names = {one.id: one.name for one in _all(client.read_deployments)}
        wanted = FlowRunFilter(state=crashed, end_time=span)
        found = _all(functools.partial(client.read_flow_runs, flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC))
        for run in reversed(found):
            name = names.get(run.deployment_id, "") if run.deployment_id else ""
            if not _not_ours(run, name) and not _is_answered(run, workspace):
                missed.append(run.id)
    return missed


def _is_answered(run: FlowRun, workspace: Workspace) -> bool:
    from glaucoma.records.recoveries import Recoveries

    try:
        done = Recoveries(workspace_of_run(run.parameters, workspace)).of(run.id)
    except ArcError as error:
        get_run_logger().warning("%s is not taken up: %s", run.name, error)
        return True
    return done is not None and bool(done.started or not (done.experiments or done.again))


def _all(read: Callable[..., list[Found]]) -> list[Found]:
    """Every page of what is asked for."""
    found: list[Found] = []
    while page := read(limit=_PAGE, offset=len(found)):
        found += page
    return found


def workspace_of_run(parameters: Mapping[str, Any], otherwise: Workspace) -> Workspace:
    """The workspace that a run's parameters name, else `otherwise`; a worker's run follows it below its roots alone.

    Raises:
        SettingsError: It leads elsewhere.
    """
    given = (parameters.get("config") or {}).get("workspace")
    if not given:
        return otherwise
    try:
        path = Path(str(given)).expanduser()
        return Workspace.at(confined(path) if is_workers_run() else path)
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~somebody whom this machine does not know
        raise SettingsError(
            f"The crashed run's workspace cannot be used: {error}",
            consequence="Nothing of it is taken up",
            remedy="where the path is right, start its work again in a shell on its machine",
        ) from error


def is_known(run_id: UUID) -> bool:
    """Whether the server has that flow run: two installations may share a machine."""
    try:
        with get_client(sync_client=True) as client:
            client.read_flow_run(run_id)
    except ObjectNotFound:
        return False
    return True


def end_on_server(run_id: UUID, reason: str, patience_s: float) -> str:
    """Waits until Prefect knows that the run ended, whose processes are gone; tells it after `patience_s`.

    Returns:
        The name of the state that the run ended in.
    """
    until = time.monotonic() + patience_s
    with get_client(sync_client=True) as client:
        while True:
            state = _read(client, run_id).state
            if state is not None and state.is_final():
                return state.name or state.type.value
            if time.monotonic() >= until:
                break
            time.sleep(_LOOK_EVERY_S)
        crashed: State[Any] = Crashed(message=reason)
        client.set_flow_run_state(run_id, crashed, force=True)
    return "Crashed"


def _read(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
    try:
        return client.read_flow_run(run_id)
    except ObjectNotFound as error:
        raise NotFoundError(
            f"The server knows no flow run {run_id}", remedy="give the id of a flow run as its page shows it"
        ) from error


def _not_ours(run: FlowRun, deployment: str) -> str:
    if run.state is None or not run.state.is_crashed():
        return f"it is {run.state.name if run.state else 'without a state'}, not crashed"
    in_its_process = run.parent_task_run_id is not None and run.deployment_id is None  # what it submits is not
    if in_its_process:
        return "it ran inside another run, whose matter it is"
    if not deployment:
        return "it came from no deployment: start the same command again, and it goes on"
    if deployment not in WHOLE | ALONE | {"resume"}:
        return f"{deployment} trains nothing"
    return ""


def _wanted(run: FlowRun, deployment: str, workspace: Workspace, recoveries: Any, options: RecoverOptions) -> Recovery:
    from glaucoma.records.ended import end_run
    from glaucoma.records.recoveries import Recovery, lost_experiments

    now = datetime.now(UTC)
    message = (run.state.message if run.state else "") or "Crashed"
    for line in end_run(
        str(run.id), workspace, cancelled=False, reason=f"The process of its run was lost ({message})", at=now
    ):
        get_run_logger().info("%s", line)
    given = run.parameters.get("config") or {}
    names, left = lost_experiments(run.id, workspace, failed_too=bool(given.get("retry_failed")))
    before = recoveries.started_by(run.id)
    depth = before.depth + 1 if before is not None and before.again else 0
    again = deployment in WHOLE or (deployment in ALONE and not names and not left)
    if again and deployment in WHOLE and (alive := _alive(run, given, workspace)):
        again, left = False, {**left, **alive}
    if again and options.most_again is not None and depth >= options.most_again:
        again, left = False, {**left, run.name: f"was started again {depth} times already, and crashed each time"}
    return Recovery(
        crashed_run=run.id,
        at=now,
        experiments=() if deployment in WHOLE else tuple(names),
        again=again,
        depth=depth,
        left=left,
    )


def _alive(run: FlowRun, given: Mapping[str, Any], workspace: Workspace) -> dict[str, str]:
    """Of a cycle or a planned experiment, what a living process still works on, and how that shows.

    A machine that is cut off from the server has its runs marked crashed while they go on.
    """
    from glaucoma.records.cycle_turn import cycle_of_living_run
    from glaucoma.training.claims import is_trained_now
    from glaucoma.training.experiment import list_experiments

    if cycle := cycle_of_living_run(str(run.id), workspace):
        return {cycle: "is being worked on by the process of that run, which lives"}
    return {
        one.experiment_id: f"{one.experiment_id} is being trained by another process"
        for one in list_experiments(workspace)
        if one.experiment_id == given.get("experiment") and is_trained_now(one, workspace)
    }


def _start(client: SyncPrefectClient, run: FlowRun, recovery: Recovery, options: RecoverOptions) -> list[UUID]:
    when = datetime.now(UTC) + timedelta(seconds=options.delay_s)
    given = run.parameters.get("config") or {}
    started = []
    if recovery.experiments:
        resume = client.read_deployment_by_name(RESUME)
        for name in recovery.experiments:
            config = {key: given[key] for key in _HANDED_ON if given.get(key) is not None}
            made = client.create_flow_run_from_deployment(
                resume.id,
                parameters={"config": {**config, "experiment": name}},
                state=Scheduled(scheduled_time=when),
                work_queue_name=options.queue,
                idempotency_key=f"recover-{run.id}-{name}",
                tags=["recovered"],
            )
            started.append(made.id)
    if recovery.again and run.deployment_id is not None:
        made = client.create_flow_run_from_deployment(
            run.deployment_id,
            parameters=run.parameters,
            state=Scheduled(scheduled_time=when),
            work_queue_name=_open_queue(client, run, options),
            idempotency_key=f"recover-{run.id}",
            tags=[*run.tags, "recovered"],  # by which whoever waits for the run finds this one
        )
        started.append(made.id)
    return started


def _open_queue(client: SyncPrefectClient, run: FlowRun, options: RecoverOptions) -> str | None:
    """Where the run stood; the queue for any GPU where its own GPU's is paused, such as that of a drained one."""
    name = run.work_queue_name
    instead = options.instead(name) if name else None
    if instead is None or run.work_queue_id is None or not client.read_work_queue(run.work_queue_id).is_paused:
        return name
    get_run_logger().info("The queue %s is paused: the new run stands in %s", name, instead)
    return instead


def _tell(run: FlowRun, recovery: Recovery, options: RecoverOptions) -> None:
    logger = get_run_logger()
    rows = [{"what": name, "became": "left alone", "why": why} for name, why in recovery.left.items()]
    names = [*recovery.experiments, *([run.name] if recovery.again else [])]
    for name, new in zip(names, recovery.started, strict=True):
        logger.info("%s goes on in the new run %s, in %g s at the earliest", name, new, options.delay_s)
        rows.append({"what": name, "became": f"new run {new}", "why": f"{run.name} crashed"})
    for name, why in recovery.left.items():
        logger.warning("%s was left alone: %s", name, why)
    if not rows:
        logger.info("%s was training nothing: there is nothing to take up", run.name)
        rows.append({"what": run.name, "became": "nothing", "why": "it was training nothing"})
    with shown_if_possible():
        create_table_artifact(
            table=rows, key="recover", description=f"**Recovered** after {run.name} ({run.id}) crashed"
        )


def _ids(runs: tuple[UUID, ...]) -> str:
    return ", ".join(map(str, runs))
