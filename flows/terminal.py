"""Continuous research in a terminal: turn after turn, and a Ctrl-C that lets the running stage finish.

A terminal sends Ctrl-C to every process of the command, trainings too. So the work is done by a process in a group of
its own, and this one passes on what it hears: the first Ctrl-C asks the work to end after its stage, the second ends it
now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

from flows.configs_research import ContinuousConfig
from flows.resolve import workspace_of
from flows.results_research import Next, ResearchResult, Turn
from glaucoma.errors import TransientError
from glaucoma.planning.continuous import Start, Stop, next_step
from glaucoma.planning.continuous_store import Research, names
from glaucoma.training.stopping import die_with_parent
from glaucoma.workspace import Workspace
from tasks.stopping import ASK, STAGE_STOP, StoppedBetweenStagesError

_LOOK_EVERY_S = 2.0
_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGHUP)


def in_terminal(research: Callable[[ContinuousConfig], ResearchResult], config: ContinuousConfig) -> ResearchResult:
    """Turn after turn, until no research is on; gives the last turns back.

    Raises:
        TransientError: Another process works on the research.
        KeyboardInterrupt: It was asked to end after a stage, and has.
    """
    workspace = workspace_of(config)
    again = ContinuousConfig(name=config.name, workspace=workspace.root)
    try:
        result = research(config)
        last = {turn.name: turn for turn in result.turns}
        while True:
            if any(turn.next is Next.BUSY for turn in result.turns):
                raise TransientError(
                    "; ".join(f"Research {t.name} {t.says}" for t in result.turns if t.next is Next.BUSY),
                    consequence="This start ended, and changed nothing but settings that were given",
                    remedy="end the other one first, or leave the work to it",
                )
            due = _wait_until_due(last, config.name, workspace)
            if due or (config.name and last[config.name].next is not Next.STOP):  # a last turn tells of the stop
                result = research(again)
                last |= {turn.name: turn for turn in result.turns}
            if not due:
                return ResearchResult(turns=list(last.values()))
    except StoppedBetweenStagesError as error:
        raise KeyboardInterrupt from error


def _wait_until_due(last: dict[str, Turn], name: str | None, workspace: Workspace) -> bool:
    """Waits until a research is due; False where none can be any more. What a person changes meanwhile counts."""
    said = ""
    with STAGE_STOP.while_idle():
        while True:
            now = datetime.now(UTC)
            states = [Research(one, workspace).require() for one in ([name] if name else names(workspace))]
            steps = [next_step(state, state.settings, now) for state in states]
            if any(isinstance(step, Start) for step in steps):
                return True
            if all(isinstance(step, Stop) for step in steps):
                return False
            waits = "; ".join(turn.says for turn in last.values() if turn.next is Next.WAIT)
            if waits and waits != said:
                said = waits
                sys.stderr.write(f"Research {waits}\n")
            time.sleep(_LOOK_EVERY_S)


def run_with_two_stops(command: Callable[[], int]) -> int:
    """Runs `command` in a process of its own, which Ctrl-C reaches in two steps; gives its exit code.

    Called before there are threads: the process is a fork, as a start from the beginning would import all of it twice.
    """
    front = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {ASK, signal.SIGINT, *_FROM_OUTSIDE})
    work = os.fork()
    if work == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        STAGE_STOP.listen()
        return command() if die_with_parent(front) else 1
    _Relay(work).listen()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _, status = os.waitpid(work, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class _Relay:
    """Passes signals on to the process that works."""

    def __init__(self, work: int) -> None:
        self._work = work
        self._interrupts = 0

    def listen(self) -> None:
        """Takes over the signals of the terminal, and those that ask a process to end."""
        for number in (signal.SIGINT, *_FROM_OUTSIDE):
            signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGINT and self._interrupts == 1:
                sys.stderr.write(
                    "Ends after the stage that runs. Ctrl-C again: ends now. Either way it can be resumed.\n"
                )
                os.kill(self._work, ASK)
            else:
                os.killpg(self._work, signal.SIGINT)
