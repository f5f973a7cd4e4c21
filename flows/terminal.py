"""Continuous research in a terminal: turn after turn, and a Ctrl-C that lets the running stage finish.

A terminal sends Ctrl-C to every process of the command, trainings too. So the work is done by a process in a group of
its own, and this one passes on what it hears: the first Ctrl-C asks the work to end after its stage, the second ends it
now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
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

_FRONT = "ARC_RESEARCH_FRONT"
"""In the environment of the process that works: the process that hears the terminal."""
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


def run_with_two_stops(module: str, command: Callable[[], int]) -> int:
    """Runs `command` in a process of its own, which Ctrl-C reaches in two steps; gives its exit code.

    Args:
        module: The one that is running, and that calls this again in that process.
    """
    front = os.environ.pop(_FRONT, "")
    if front:
        if not die_with_parent(int(front)):
            return 1
        STAGE_STOP.listen()
        return command()
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {ASK, signal.SIGINT, *_FROM_OUTSIDE})
    environment = {**os.environ, _FRONT: str(os.getpid())}
    work = subprocess.Popen(
        [sys.executable, "-m", module, *sys.argv[1:]],
        env=environment,
        process_group=0,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, *_FROM_OUTSIDE}),
    )
    _Relay(work).listen()
    signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    code = work.wait()
    return code if code >= 0 else 128 - code


class _Relay:
    """Passes signals on to the process that works."""

    def __init__(self, work: subprocess.Popen[bytes]) -> None:
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
                self._work.send_signal(ASK)
            else:
                os.killpg(self._work.pid, signal.SIGINT)
