"""A Prefect worker that ends its work before it ends.

Asked once (SIGTERM), it takes nothing new, lets its flow runs end, and then ends. Asked twice, or interrupted (SIGINT),
it ends its runs now: they are told to save, and killed if they do not. Prefect's own worker ends its runs' processes at
the first SIGTERM and leaves them "Running" in the server's books for ever.

While a mark says that its GPU is drained, it takes nothing, and goes on when the mark is gone. A run that an earlier
worker of its name left alive keeps its place until its process ends. `deployments.worker` starts this as its child.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.workers.process import ProcessWorker

from deployments.earlier import EarlierRuns
from deployments.ending import Ending
from deployments.leftovers import close_lost_runs, requeue_unclaimed, run_processes
from deployments.worker import follow
from deployments.worker_lock import Held, hold, lock_of
from glaucoma.machine.drained import is_drained
from glaucoma.workspace import Workspace

_LOOK_EVERY_S = 2.0
_LOOK_WHILE_ENDING_S = 0.25
_ASK_AGAIN_S = (1.0, 2.0, 4.0, 8.0, 15.0)
_REQUEUE_EVERY_S = 60.0
_ASK_WHEN_FULL_EVERY_S = 30.0
_AWAY = (httpx.TransportError, httpx.HTTPStatusError)

_log = get_logger("arc.worker")


@dataclass
class Asked:
    """What this process was asked by signals."""

    drain: bool = False
    now: bool = False
    heard: anyio.Event = field(default_factory=anyio.Event)

    async def listen(self) -> None:
        """SIGTERM: drain; again, or SIGINT: now."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                self.now = self.now or self.drain or number == signal.SIGINT
                self.drain = True
                self.heard.set()
                what = "ends its runs now" if self.now else "takes nothing new and lets its runs end"
                _log.info("%s: the worker %s", signal.Signals(number).name, what)

    async def wait(self, timeout_s: float) -> bool:
        """Waits for the first request; says whether there is one."""
        with anyio.move_on_after(timeout_s):
            await self.heard.wait()
        return self.drain


class DrainableWorker(ProcessWorker):
    """A process worker that can be held back from taking runs, and that a server that is away does not end.

    Args:
        held_back: Why it takes nothing just now; None where it may.
    """

    def __init__(self, *, held_back: Callable[[], str | None], **options: Any) -> None:
        super().__init__(**options)
        self._held_back = held_back
        self._said: str | None = None
        self._asked_at = 0.0
        self._begun: set[UUID] = set()

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "arc-process"  # beside Prefect's own class, not in place of it

    @property
    def at_work(self) -> int:
        """How many runs it has taken and not finished."""
        return self.limiter.borrowed_tokens if self.is_setup else 0

    async def get_and_submit_flow_runs(self) -> list[Any]:
        reason = self._held_back()
        if reason is not None:
            self._say(f"takes nothing: {reason}")
            return []
        if self._is_full():
            return []
        try:
            taken = await super().get_and_submit_flow_runs()
        except _AWAY as error:  # Prefect's own loop gives up after some minutes, and takes the running flows along
            self._say(f"the server cannot be asked for work, and is asked again: {error}")
            return []
        self._say(None)
        return taken

    async def sync_with_backend(self) -> None:
        try:
            await super().sync_with_backend()
        except _AWAY as error:
            if not self.is_setup:
                raise
            self._say(f"the server does not hear this worker, which goes on: {error}")

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """As Prefect's, but what goes wrong before the run begins ends neither this worker nor one of its places.

        Prefect lets an error of the server go up to the task group of all its runs, and keeps the place of a run whose
        deployment was deleted for ever.
        """
        try:
            await super()._submit_run(flow_run)
        except (*_AWAY, ObjectNotFound) as error:  # it is scheduled as before, and taken with the next look
            _log.warning("%s could not take the run %s just now: %s", self.name, flow_run.name, error)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)
        finally:
            if flow_run.id not in self._begun:
                self._release_limit_slot(flow_run.id)
            self._begun.discard(flow_run.id)

    async def _submit_run_and_capture_errors(self, flow_run: FlowRun, task_status: Any = None) -> Any:
        self._begun.add(flow_run.id)
        return await super()._submit_run_and_capture_errors(flow_run, task_status)

    def _is_full(self) -> bool:
        """Whether to spare the server a question: it costs the server most, and the answer would be thrown away.

        Once in a while it is asked all the same, or it would take the queues for abandoned.
        """
        now = time.monotonic()
        if self.limiter.available_tokens > 0 or now - self._asked_at > _ASK_WHEN_FULL_EVERY_S:
            self._asked_at = now
            return False
        return True

    def is_worker_still_polling(self, query_interval_seconds: float) -> bool:
        return self._held_back() is not None or super().is_worker_still_polling(query_interval_seconds)

    def _say(self, what: str | None) -> None:
        if what != self._said:
            _log.info("%s %s", self.name, what or "takes runs again")
        self._said = what


@dataclass
class Options:
    """What the command line says."""

    pool: str
    name: str
    queues: list[str]
    limit: int
    gpus: list[int]
    drain_timeout_s: float
    healthcheck: bool


async def work(options: Options, workspace: Workspace) -> None:
    """Serves the pool until it is asked to end, and returns when nothing of it is left running."""
    asked = Asked()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asked.listen)
        with hold(lock_of(workspace, options.name)) as lock:
            await _alone(lock, asked)
            async with get_client() as client:
                await _prepared(client, options, asked)
                if not asked.drain:
                    await _serve(client, options, workspace, asked)
        tasks.cancel_scope.cancel()


async def _alone(lock: Held, asked: Asked) -> None:
    """Returns when no other worker of that name is at work on this machine: it may still be letting its runs end."""
    said = False
    while not asked.drain and not lock.take():
        if not said:
            _log.info("another worker of this name is at work (%s); waits for its end", lock.holder())
        said = True
        await asked.wait(1.0)


async def _prepared(client: PrefectClient, options: Options, asked: Asked) -> None:
    """Returns when the server answers and has the pool and its queues; says what it waits for."""
    said, attempt = "", 0
    while not asked.drain and (missing := await _missing(client, options)):
        if missing != said:
            _log.info("waits: %s", missing)
        said = missing
        await asked.wait(_ASK_AGAIN_S[min(attempt, len(_ASK_AGAIN_S) - 1)])
        attempt += 1


async def _missing(client: PrefectClient, options: Options) -> str:
    """What the server lacks for this worker; empty where nothing is missing.

    A server that lacks one queue answers "not found" when a worker asks for work, which Prefect takes for "none".
    """
    remedy = "`python -m deployments.apply` with this machine's GPU policy makes it"
    try:
        there: set[str] = set()
        while page := await client.read_work_queues(work_pool_name=options.pool, limit=200, offset=len(there)):
            there |= {queue.name for queue in page}
    except ObjectNotFound:
        return f"the server has no work pool {options.pool}; {remedy}"
    except _AWAY as error:
        return f"the server does not answer as expected: {error}"
    lacking = [queue for queue in options.queues if queue not in there]
    return f"the pool {options.pool} has no queue {', '.join(lacking)}; {remedy}" if lacking else ""


async def _serve(client: PrefectClient, options: Options, workspace: Workspace, asked: Asked) -> None:
    earlier = EarlierRuns(options.name)
    for line in await close_lost_runs(client, [options.name], earlier.alive()):
        _log.info(line)

    def held_back() -> str | None:
        if asked.drain:
            return "it was asked to end"
        marked = [number for number in options.gpus if is_drained(workspace, number)]
        if marked:
            return f"GPU {', '.join(map(str, marked))} is drained"
        if earlier.alive() and len(earlier.alive()) + worker.at_work >= options.limit:
            return "a run of an earlier worker of this name still goes on"
        return None

    worker = DrainableWorker(
        held_back=held_back,
        work_pool_name=options.pool,
        work_queues=options.queues,
        name=options.name,
        limit=options.limit,
        create_pool_if_not_found=False,
    )
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_books, client, options, earlier)
            tasks.start_soon(_watch, options, worker, earlier, asked, scope)
            await worker.start(with_healthcheck=options.healthcheck, printer=_log.info)
    try:
        for line in await close_lost_runs(client, [options.name], run_processes(options.name)):
            _log.info(line)
    except _AWAY as error:
        _log.info("the server is away; the next worker of this name settles what is left in the books: %s", error)


async def _keep_books(client: PrefectClient, options: Options, earlier: EarlierRuns) -> None:
    """Settles what earlier workers left, and puts back what was taken and never begun, until it is cancelled.

    Alone with the server: a client asks one that is away for a minute and more, for which no signal shall wait.
    """
    tidy_at = time.monotonic()
    while True:
        try:
            await earlier.settle(client)
            if time.monotonic() >= tidy_at:
                tidy_at = time.monotonic() + _REQUEUE_EVERY_S
                for line in await requeue_unclaimed(client, options.pool):
                    _log.info(line)
        except _AWAY as error:
            _log.info("the books cannot be kept just now, and are looked at again: %s", error)
        await anyio.sleep(_LOOK_EVERY_S)


async def _watch(
    options: Options, worker: DrainableWorker, earlier: EarlierRuns, asked: Asked, scope: anyio.CancelScope
) -> None:
    """Ends `scope` when the worker was asked to end and nothing of it runs; asks the server nothing."""
    ending = Ending(options.name)
    await asked.heard.wait()
    until = time.monotonic() + options.drain_timeout_s
    while worker.at_work or earlier.alive():
        if not asked.now and time.monotonic() > until:
            _log.info("its runs did not end within %.0f s: they are ended now", options.drain_timeout_s)
            asked.now = True
        if asked.now:
            ending.go_on()
        await anyio.sleep(_LOOK_WHILE_ENDING_S)
    scope.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.drainable", description="A worker that can be drained."
    )
    parser.add_argument("--pool", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--work-queue", action="append", dest="queues", required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--gpu", action="append", dest="gpus", type=int, default=[])
    parser.add_argument("--drain-timeout-s", type=float, required=True)
    parser.add_argument("--with-healthcheck", action="store_true", dest="healthcheck")
    parser.add_argument("--parent", type=int, required=True)
    given = vars(parser.parse_args(arguments))
    follow(given.pop("parent"))
    anyio.run(work, Options(**given), Workspace.at())
    return 0


if __name__ == "__main__":
    sys.exit(main())
