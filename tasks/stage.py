"""What all stages share: retries with exponential backoff for what can pass, none for what cannot, and progress."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import Task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from glaucoma.errors import is_retryable
from glaucoma.provenance import StageOutput
from tasks.stopping import STAGE_STOP

RETRIES = 3
FIRST_RETRY_DELAY_S = 60
LONGEST_RETRY_DELAY_S = 86_400
_MOST_DELAYS = 50
"""Prefect keeps so many; further retries wait as long as the last of them."""
_PROGRESS_EVERY_S = 2.0


class StageTask(Task[..., Any]):
    """A task that may end in a state of its own making, such as Cached, and still gives its caller the plain value."""

    def __call__(self, *args: Any, return_state: bool = False, **kwargs: Any) -> Any:
        STAGE_STOP.before_a_stage()
        outcome = super().__call__(*args, return_state=return_state, **kwargs)
        return outcome.result() if isinstance(outcome, State) and not return_state else outcome

    def retrying(self, retries: int, first_delay_s: float) -> StageTask:
        """The same stage with so many retries; each waits twice as long as the one before, a day at the most.

        `Task.with_options` would give a plain task back, which hands states to its caller.
        """
        delays = [min(first_delay_s * 2**n, LONGEST_RETRY_DELAY_S) for n in range(min(retries, _MOST_DELAYS))]
        again = copy.copy(self)
        again.retries = retries
        again.retry_delay_seconds = delays or [0.0]
        return again


def stage_task(
    *, run_name: str, timeout_s: float, retries: int = RETRIES, first_delay_s: float = FIRST_RETRY_DELAY_S
) -> Callable[[Callable[..., Any]], StageTask]:
    """Makes a function one stage of the pipeline.

    Prefect's own result cache stays off: it cannot see a change in the science that a task calls, and a stage's folder
    already is its cache (`glaucoma.provenance`).

    Args:
        run_name: What a run is called in the UI; names the thing worked on, with the function's arguments in braces.
        timeout_s: After this Prefect ends the task; long native work guards itself in a child process.
    """

    def decorate(function: Callable[..., Any]) -> StageTask:
        return StageTask(
            function,
            task_run_name=run_name,
            retries=retries,
            retry_delay_seconds=exponential_backoff(first_delay_s),
            retry_jitter_factor=0.1,
            retry_condition_fn=can_pass,
            timeout_seconds=timeout_s,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate


def can_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect's question before a retry: is this an error that another attempt may survive?"""
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and (is_retryable(error) or is_server_away(error))


def is_server_away(error: BaseException) -> bool:
    """True where Prefect's server could not be reached or was not well, which says nothing of the work itself."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == httpx.codes.TOO_MANY_REQUESTS
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # Prefect's "Failed to reach API at .."
        return is_server_away(error.__cause__)
    return isinstance(error, httpx.TransportError | ConnectionError)


def finished(output: StageOutput, line: str) -> StageOutput | State[StageOutput]:
    """The task's value; where the output was there already, in a state that the UI shows as Cached."""
    if output.reused:
        return found_again(output, f"{line} (already there, key {output.key})")
    get_run_logger().info("%s (%.1f s, key %s)", line, output.record.duration_s, output.key)
    return output


def found_again(value: Any, line: str) -> State[Any]:
    """The task's value, which nothing had to be done for, in a state that the UI shows as Cached."""
    get_run_logger().info("%s", line)
    return Completed(name="Cached", message=line, data=value)


@contextlib.contextmanager
def shown_if_possible() -> Iterator[None]:
    """For what is shown in the UI on the way: a server that is away for a while must not end the work itself."""
    try:
        yield
    except (httpx.HTTPError, PrefectException, OSError) as error:
        get_run_logger().warning("Not shown in the UI: %r", error)
    except RuntimeError as error:
        if not is_server_away(error):
            raise
        get_run_logger().warning("Not shown in the UI: %r", error)


class ProgressArtifact:
    """Listens to a stage's progress: a bar in the UI, and a line in the log every few seconds.

    Both are throttled, so a stage may report as often as it likes. The bar is made at the first report.
    """

    def __init__(self, key: str, description: str, log_every_s: float = 5.0) -> None:
        self._key = key
        self._description = description
        self._log_every_s = log_every_s
        self._artifact: UUID | None = None
        self._shown_at = self._logged_at = time.monotonic()
        self._logger = get_run_logger()

    def __call__(self, share: float, line: str) -> None:
        now = time.monotonic()
        if share < 1 and now - self._shown_at < _PROGRESS_EVERY_S:
            return
        percent = 100.0 * min(max(share, 0.0), 1.0)
        text = f"{self._description}: {line}"
        with shown_if_possible():
            if self._artifact is None:
                made = create_progress_artifact(progress=percent, key=self._key, description=text)
                self._artifact = cast(UUID, made)  # a coroutine only where the caller is one
            else:
                update_progress_artifact(self._artifact, progress=percent, description=text)
        self._shown_at = now
        if share < 1 and now - self._logged_at >= self._log_every_s:
            self._logger.info("%3.0f %%  %s", percent, line)
            self._logged_at = now


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it: lower-case letters, digits and dashes."""
    joined = "-".join(parts).lower()
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in joined).strip("-")
