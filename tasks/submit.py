"""Runs of a deployment that a flow asks for: each is made once, however often it is asked for.

What makes a run the one that is wanted is its tag. A run with that tag that still waits or runs is taken as it is, so
that a flow that was cut off finds again what it had begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from glaucoma.errors import NotFoundError, SettingsError
from tasks.stage import stage_task

PAGE = 200
_TAGS_AT_ONCE = 100
AWAITED_BY = "arc-by:"
"""Tag of a run that another run waits for: that run's id follows."""
_APPLY = "run `make up`, or `python -m deployments.apply` against the server"


@dataclass(frozen=True)
class Wanted:
    """A run that is wanted.

    Args:
        name: What it does, for people; an experiment's id.
        tag: The same for the same work, and for no other.
        parameters: Of the deployment.
        queue: Of the deployment's work pool.
    """

    name: str
    tag: str
    parameters: dict[str, Any]
    queue: str


@dataclass(frozen=True)
class Submitted:
    """A run that was asked for."""

    name: str
    tag: str
    """Of all runs for the same work."""
    run_id: UUID
    run_name: str
    queue: str
    """Where it stands; one that was found keeps its own."""
    new: bool
    """False where it waited or ran already."""

    @property
    def link(self) -> str:
        """Its page; empty where the server has none."""
        return run_page(self.run_id)


def run_page(run_id: UUID) -> str:
    """The address of a run's page; empty where the server has no pages."""
    return url_for("flow-run", obj_id=run_id) or ""


def require_server() -> None:
    """Refuses to work with the temporary server of a command: no worker listens to it.

    Raises:
        SettingsError: No server is named.
    """
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "No Prefect server is named (PREFECT_API_URL): this would go to a temporary one that no worker listens to",
            expected="a server with workers",
            consequence="Nothing was submitted: nobody would ever run it",
            remedy="`make up` starts server and workers; or name yours: prefect config set PREFECT_API_URL=...",
        )


def is_served(deployment: str) -> bool:
    """True where this run is one of a deployment, so that a worker may hold it, and the server knows `deployment`."""
    if not runtime.deployment.id:
        return False
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(deployment).work_pool_name is not None
        except ObjectNotFound:
            return False


def require_queues(deployment: str, queues: Iterable[str]) -> None:
    """Refuses a deployment or a queue that the server does not have; Prefect would make a queue that nobody serves.

    Raises:
        NotFoundError: Names all that is missing.
    """
    with get_client(sync_client=True) as client:
        pool = _deployment(client, deployment).work_pool_name
        missing = [name for name in sorted(set(queues)) if not _has_queue(client, name, pool)]
    if missing:
        raise NotFoundError(
            f"The server has no queue {', '.join(missing)} in the work pool {pool}",
            expected="a queue for that priority and GPU; `any` and each GPU of a machine's policy have one",
            consequence="Nothing was submitted: no worker would take it",
            remedy=f"choose another GPU (queue.gpu); or, on the machine whose GPU policy names that GPU, {_APPLY}",
        )


def _has_queue(client: SyncPrefectClient, name: str, pool: str | None) -> bool:
    try:
        client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        return False
    return True


def _deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound as error:
        raise NotFoundError(
            f"The server at {PREFECT_API_URL.value()} has no deployment {name}",
            consequence="Nothing was submitted",
            remedy=_APPLY,
        ) from error


@stage_task(run_name="submit to {deployment}", timeout_s=3600, first_delay_s=10)
def submit(deployment: str, wanted: Sequence[Wanted], is_done: Callable[[str], bool], *, awaited: bool) -> Any:
    """Asks for runs of `deployment`, in that order.

    Args:
        is_done: Says of a name whether what its completed run made is still there; if not, it is run again.
        awaited: This run waits for them: Prefect's pages show them inside it, and they are cancelled with it.

    Returns:
        A `Submitted` each.

    Raises:
        NotFoundError: The deployment or a queue is not on the server.
    """
    require_queues(deployment, [one.queue for one in wanted])
    with get_client(sync_client=True) as client:
        known = _runs_by_tag(client, _deployment(client, deployment).id, [one.tag for one in wanted])
    by = [f"{AWAITED_BY}{runtime.flow_run.id}"] if awaited else []
    done = [_submit_one(deployment, one, known.get(one.tag, []), is_done, by) for one in wanted]
    new = sum(one.new for one in done)
    get_run_logger().info("Submitted %d runs of %s; %d were there already", new, deployment, len(done) - new)
    return done


def _submit_one(
    deployment: str, wanted: Wanted, before: list[FlowRun], is_done: Callable[[str], bool], by: list[str]
) -> Submitted:
    for run in before:
        if not _is_final(run) or (run.state_type is StateType.COMPLETED and is_done(wanted.name)):
            _tag_too(run, by)
            return Submitted(wanted.name, wanted.tag, run.id, run.name, run.work_queue_name or "", new=False)
    run = run_deployment(  # type: ignore[assignment]  # a coroutine only where the caller is one
        deployment,
        parameters=wanted.parameters,
        flow_run_name=f"{deployment.partition('/')[0]}-{wanted.name}",
        tags=[wanted.tag, *by],
        idempotency_key=_next_key(wanted.tag, before),  # of two who ask at once the server makes one
        work_queue_name=wanted.queue,
        timeout=0,
        as_subflow=bool(by),
    )
    return Submitted(wanted.name, wanted.tag, run.id, run.name, run.work_queue_name or wanted.queue, new=True)


def _next_key(tag: str, before: Sequence[FlowRun]) -> str:
    """A key that no earlier run has, also where people deleted some of them."""
    used = [run.idempotency_key.rpartition("#")[2] for run in before if run.idempotency_key]
    return f"{tag}#{1 + max((int(number) for number in used if number.isdecimal()), default=-1)}"


def _tag_too(run: FlowRun, tags: list[str]) -> None:
    if not set(tags) <= set(run.tags):
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=[*run.tags, *tags])


def _runs_by_tag(client: SyncPrefectClient, deployment: UUID, tags: Sequence[str]) -> dict[str, list[FlowRun]]:
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    found: dict[str, list[FlowRun]] = {}
    for start in range(0, len(tags), _TAGS_AT_ONCE):
        some = tags[start : start + _TAGS_AT_ONCE]
        for run in read_all(client, FlowRunFilter(tags=FlowRunFilterTags(any_=list(some))), of_it):
            for tag in set(run.tags).intersection(some):
                found.setdefault(tag, []).append(run)
    return found


def read_all(
    client: SyncPrefectClient, among: FlowRunFilter, deployments: DeploymentFilter | None = None
) -> list[FlowRun]:
    """All flow runs of the filter, page by page."""
    found: dict[UUID, FlowRun] = {}
    offset = 0
    while page := client.read_flow_runs(
        flow_run_filter=among, deployment_filter=deployments, offset=offset, limit=PAGE
    ):
        found |= {run.id: run for run in page}
        offset += len(page)
    return list(found.values())


def _is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
