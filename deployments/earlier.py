"""Runs whose worker was killed and whose processes go on: they keep their places, and can be cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger

from deployments.leftovers import close_runs, process_groups, run_processes

_KILL_AFTER_S = 30.0
"""As Prefect's own cancel: SIGTERM to the run's process group, and SIGKILL after that time."""
_ASK_STATES_EVERY_S = 5.0

_log = get_logger("arc.worker")


class EarlierRuns:
    """The runs of earlier workers of one name that were alive when this one began.

    Args:
        worker: The name.
    """

    def __init__(self, worker: str) -> None:
        self._runs: dict[UUID, list[psutil.Process]] = run_processes(worker)
        self._asked_at: dict[UUID, float] = {}
        self._look_at = 0.0

    def alive(self) -> list[UUID]:
        """Those that a process still works on."""
        return [run for run, processes in self._runs.items() if any(_lives(process) for process in processes)]

    async def settle(self, client: PrefectClient) -> None:
        """Cancels those that are to be cancelled, and ends in the books those whose processes have ended.

        Raises:
            httpx.HTTPError: The server is away; what was not settled is settled by the next call.
        """
        if not self._runs:
            return
        alive = self.alive()
        for run in [run for run in self._runs if run not in alive]:
            for line in await close_runs(client, [run], cancelled=run in self._asked_at):
                _log.info(line)
            del self._runs[run]
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _ASK_STATES_EVERY_S
        for run in alive:
            if await _is_cancelling(client, run):
                self._cancel(run)

    def _cancel(self, run: UUID) -> None:
        began = self._asked_at.setdefault(run, time.monotonic())
        number = signal.SIGKILL if time.monotonic() - began > _KILL_AFTER_S else signal.SIGTERM
        if number == signal.SIGTERM and time.monotonic() - began > _ASK_STATES_EVERY_S / 2:
            return  # asked already
        for group in process_groups({run: self._runs[run]}):
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                os.killpg(group, number)


async def _is_cancelling(client: PrefectClient, run: UUID) -> bool:
    try:
        return (await client.read_flow_run(run)).state_type is StateType.CANCELLING
    except ObjectNotFound:  # deleted by a person: nobody wants it any more
        return True


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
