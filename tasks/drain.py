"""GPUs that get no new work: the mark, the queues, the run that is on one, and the event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import WorkQueueFilter, WorkQueueFilterName
from prefect.client.schemas.objects import WorkerStatus, WorkQueue
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from glaucoma.errors import SettingsError
from tasks.recover import RecoverOptions, end_on_server, is_known, recover_run
from tasks.stage import stage_task

if TYPE_CHECKING:
    from glaucoma.workspace import Workspace

DRAINED, UNDRAINED = "arc.gpu.drained", "arc.gpu.undrained"
_STATE_PATIENCE_S = 15.0


@stage_task(run_name="drain GPU {gpu}", timeout_s=600, first_delay_s=5)
def drain_gpu(workspace: Workspace, gpu: int, reason: str, pool: str, queues: Sequence[str]) -> Any:
    """Marks the GPU, pauses the queues that are for it alone, and says so; gives the mark and what was paused.

    A queue is for a number, and a mark for a GPU: where another machine's worker serves that number too, the queues
    stay open for it, and the mark alone holds this machine's worker back.
    """
    from glaucoma.machine.drained import drain, is_drained, note_paused, paused_queues, this_host

    new = not is_drained(workspace, gpu)
    mark = drain(workspace, gpu, reason, datetime.now(UTC))
    others = _other_workers(pool, gpu, this_host())
    if others:
        get_run_logger().info("Its queues stay open: %s serves them on another machine", ", ".join(others))
    there = [queue for queue in _queues(pool, queues) if not queue.is_paused and not others]
    if there:
        note_paused(workspace, gpu, [queue.name for queue in there])
        _pause(there, paused=True)
    if new:
        _say(DRAINED, this_host(), gpu, {"reason": reason})
    get_run_logger().warning("GPU %d takes no new work: %s", gpu, mark.reason)
    return mark, paused_queues(workspace, gpu)


@stage_task(run_name="undrain GPU {gpu}", timeout_s=600, first_delay_s=5)
def undrain_gpu(workspace: Workspace, gpu: int, pool: str) -> Any:
    """Takes the mark away and resumes the queues that were paused for it; gives whether it was marked, and these."""
    from glaucoma.machine.drained import forget_paused, paused_queues, this_host, undrain

    names = paused_queues(workspace, gpu)
    _pause([queue for queue in _queues(pool, names) if queue.is_paused], paused=False)
    forget_paused(workspace, gpu)
    was = undrain(workspace, gpu)
    if was:
        _say(UNDRAINED, this_host(), gpu, {})
    get_run_logger().info("GPU %d %s", gpu, "takes work again" if was else "was not drained")
    return was, names


@stage_task(run_name="end the run on GPU {gpu}", timeout_s=1800, first_delay_s=5)
def end_runs_on(workspace: Workspace, gpu: int, reason: str, grace_s: float, options: RecoverOptions | None) -> Any:
    """Ends this server's runs on a GPU; gives their ids, and what took their place where `options` say how."""
    from glaucoma.machine.gpus import read_gpus
    from glaucoma.machine.processes import end_run_processes
    from glaucoma.machine.readings import GpuReading
    from glaucoma.training.gpu_work import work_on

    gpus = read_gpus().gpus
    if gpu not in {one.gpu for one in gpus}:
        gpus = (*gpus, GpuReading(gpu=gpu))  # the driver does not show it any more: its worker's word counts
    ended, recoveries = [], []
    for run_id in dict.fromkeys(work.run_id for work in work_on(gpus, workspace) if work.gpu == gpu):
        if run_id is None:
            continue
        if not is_known(UUID(run_id)):
            get_run_logger().error("The run %s on GPU %d is another server's: end it there", run_id, gpu)
            continue
        get_run_logger().warning("Ending the run %s on GPU %d: %s", run_id, gpu, reason)
        if stuck := end_run_processes(run_id, grace_s):
            get_run_logger().error("Processes %s hang in the kernel: the machine has to be restarted", stuck)
        state = end_on_server(UUID(run_id), f"Ended because GPU {gpu} was drained: {reason}", _STATE_PATIENCE_S)
        get_run_logger().info("The run %s ended: %s", run_id, state)
        ended.append(run_id)
        if options is not None:
            recoveries.append(recover_run(UUID(run_id), workspace, options))
    return ended, [one for one in recoveries if one is not None]


def require_here(host: str | None, gpu: int) -> None:
    """Refuses to mark a GPU of another machine: marks count where they are made.

    Raises:
        SettingsError: `host` names another machine than this one.
    """
    from glaucoma.machine.drained import this_host

    if host is not None and host != this_host():
        raise SettingsError(
            f"GPU {gpu} of {host} was meant, and this run is on {this_host()}",
            consequence="Nothing was changed",
            remedy=f"run the same command in a shell on {host}: python -m flows.drain, or flows.undrain",
        )


def _other_workers(pool: str, gpu: int, host: str) -> list[str]:
    """The workers on other machines that are at work for the GPU of that number there."""
    try:
        with get_client(sync_client=True) as client:
            workers = client.read_workers_for_work_pool(pool)
    except ObjectNotFound:
        return []
    online = [worker.name for worker in workers if worker.status is WorkerStatus.ONLINE]
    return sorted(name for name in online if name.startswith(f"{pool}{gpu}-") and name != f"{pool}{gpu}-{host}")


def _queues(pool: str, names: Sequence[str]) -> list[WorkQueue]:
    if not names:
        return []
    try:
        with get_client(sync_client=True) as client:
            named = WorkQueueFilter(name=WorkQueueFilterName(any_=list(names)))
            return client.read_work_queues(work_pool_name=pool, work_queue_filter=named)
    except ObjectNotFound:
        get_run_logger().info("The server has no work pool %s: there are no queues to pause or resume", pool)
        return []


def _pause(queues: Sequence[WorkQueue], *, paused: bool) -> None:
    with get_client(sync_client=True) as client:
        for queue in queues:
            client.update_work_queue(queue.id, is_paused=paused)


def _say(event: str, host: str, gpu: int, payload: dict[str, Any]) -> None:
    emit_event(
        event,
        resource={"prefect.resource.id": f"arc.gpu.{host}.{gpu}", "prefect.resource.name": f"GPU {gpu} of {host}"},
        payload={"host": host, "gpu": gpu, **payload},
    )
