"""The flow run that a task belongs to: whether somebody cancelled it, and how that is said to Prefect.

A worker tells a run of its cancel by a signal. That never comes where there is no worker (a flow that was started from
a shell), or where the worker lost sight of the run. So long work asks the server itself, now and then.
"""

from __future__ import annotations

import time
from uuid import UUID

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, ObjectNotFound, TerminationSignal
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled

from tasks.stage import is_server_away, shown_if_possible

LOOK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 5.0


class RunCancelledError(BaseException):
    """The flow run was cancelled in Prefect. No `Exception`: nothing may take it for a failure and go on."""


class OwnRun:
    """Looks at the state of the flow run that this task belongs to, every few seconds."""

    def __init__(self, look_every_s: float = LOOK_EVERY_S) -> None:
        self._every_s = look_every_s
        self._looked_at = time.monotonic()
        self._seen = False

    def require_wanted(self) -> None:
        """Ends the work where the run is cancelled, at the second look that says so.

        Between the two a worker has the time to send its signal, which ends the run in Prefect's own way. A server
        that is away says nothing.

        Raises:
            RunCancelledError: The run is cancelled, and nobody else ends it.
        """
        now = time.monotonic()
        if now - self._looked_at < self._every_s:
            return
        seen_before, self._seen = self._seen, run_is_cancelled(_own_run_id())
        self._looked_at = time.monotonic()
        if seen_before and self._seen:
            raise RunCancelledError("The flow run was cancelled in Prefect")


def was_cancelled(error: BaseException) -> bool:
    """True where `error` ended the work because somebody cancelled it; a bare signal to end is no cancel."""
    if isinstance(error, TerminationSignal):
        return run_is_cancelled(_own_run_id())
    return isinstance(error, KeyboardInterrupt | RunCancelledError)


def ending(error: BaseException) -> BaseException:
    """What to raise in the flow for `error`, so that its run ends in the state that is true.

    Prefect would book a run that ends by itself as crashed; one that was cancelled is cancelled.
    """
    run_id = _own_run_id()
    if not isinstance(error, RunCancelledError) or run_id is None:
        return error
    state: State[None] = Cancelled(message=str(error))
    ended = Abort(str(error))
    with shown_if_possible():
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(run_id), state, force=True)
        ended.state = state  # type: ignore[attr-defined]  # the engine takes the run's last state from it
    return ended if hasattr(ended, "state") else error


def run_is_cancelled(run_id: str | None) -> bool:
    """True where the server says so; False where it cannot be asked, or knows no such run."""
    if run_id is None:
        return False
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),  # whoever watches a child cannot wait for a server
            get_client(httpx_settings={"timeout": _ANSWER_WITHIN_S}, sync_client=True) as client,
        ):
            state = client.read_flow_run(UUID(run_id)).state
    except ObjectNotFound:
        return False
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        if isinstance(error, httpx.HTTPStatusError | RuntimeError) and not is_server_away(error):
            raise
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def _own_run_id() -> str | None:
    run_id = runtime.flow_run.id
    return str(run_id) if run_id else None
