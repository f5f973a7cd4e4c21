"""The work pools of GPUs on the shared embedded server, and a stand-in for their workers in a thread of the test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from flows.experiment import experiment
from flows.planned_experiment import planned_experiment
from flows.queues import GPU_POOL, INFERENCE_POOL, queue_names

QUEUES = [name for name in queue_names(["any", "gpu0", "all"]) if name[:3] in ("p02", "p05", "p08")]


def make_pools() -> None:
    """Makes them where they are not there yet, some of their queues, and the deployments of experiments."""
    with get_client(sync_client=True) as client:
        for pool in (GPU_POOL, INFERENCE_POOL):
            try:
                client.read_work_pool(pool)  # another file's tests may have made it, without its queues
            except ObjectNotFound:
                client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        for priority, name in enumerate(QUEUES, 1):
            try:
                client.read_work_queue_by_name(name, work_pool_name=GPU_POOL)
            except ObjectNotFound:
                client.create_work_queue(name, priority=priority, work_pool_name=GPU_POOL)
        for flow in (experiment, planned_experiment):
            deploy(flow)


def deploy(flow: Flow[..., Any]) -> None:
    with get_client(sync_client=True) as client:
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=flow.name,
            work_pool_name=GPU_POOL,
            work_queue_name="p05-any",
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )


@contextlib.contextmanager
def recovering() -> Iterator[None]:
    """A deployment `recover`, which no worker serves: whoever waits for a crashed run waits for one in its place."""
    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow_from_name("recover"), "recover")
        try:
            yield
        finally:
            client.delete_deployment(made)


@contextlib.contextmanager
def worker(run: Callable[[FlowRun], None]) -> Iterator[None]:
    """Takes what is due in the pool of the GPUs, one after the other, as a worker does; `run` does it."""
    over = threading.Event()
    problems: list[BaseException] = []

    def work() -> None:
        try:
            while not over.is_set():
                with get_client(sync_client=True) as client:
                    due = client.get_scheduled_flow_runs_for_work_pool(GPU_POOL)
                if not due:
                    over.wait(0.2)  # between two looks, as a worker's
                for one in due:
                    run(one.flow_run)
        except BaseException as problem:  # noqa: BLE001  told below, in the test's own thread
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not problems, problems
