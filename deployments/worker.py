"""Starts one worker of this machine by its role, and starts it again when it crashes.

python -m deployments.worker control | cpu | cycles | gpu0 | gpu1 | .. | gpu-all | gpu-cpu | inference

The first SIGTERM drains: the worker takes nothing new, its runs end, then it ends. A second SIGTERM, or SIGINT
(Ctrl-C), ends its runs now; they save first. `make up`, systemd and compose start this same command.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from deployments.gpus import POLICY_VARIABLE, Driver, WorkerSpec, ask_driver, left_out, load_policy, spec_of
from glaucoma.errors import ArcError
from glaucoma.machine.drained import this_host
from glaucoma.roots import WORKSPACE

DRAIN_TIMEOUT_S = 12 * 3600.0
"""How long a draining worker waits for its runs, seconds; then they are told to save and end, and can be resumed."""
SAVE_S = 30.0
"""How long a run that is told to end now may take to save, seconds; then it is killed."""
_DELAYS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_LIVED_S = 60.0
"""A worker that lived for so long crashed for another reason than the one before it."""
_WRONG_USE = 2
_LOOK_EVERY_S = 0.1
_PR_SET_PDEATHSIG = 1
PROJECT = Path(__file__).resolve().parents[1]


class Supervisor:
    """Keeps one child process alive until it is asked to end, and passes on what it is asked.

    Args:
        command: The child's.
        environment: Beside this process's own.
        delays_s: Before the first, second, .. start after a crash; the last one is kept.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], delays_s: Sequence[float] = _DELAYS_S
    ) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._delays_s = delays_s
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: list[int] = []
        self._passed_on = 0

    def run(self) -> int:
        """Returns when the child ended and was asked to, or ended for good; gives the exit code. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)
        crashes = 0
        while not self._asked:
            began = time.monotonic()
            # A session of its own: what a terminal sends to the foreground reaches it through this process alone.
            self._child = subprocess.Popen(
                self._command, env=self._environment, cwd=PROJECT, stdin=subprocess.DEVNULL, start_new_session=True
            )
            self._pass_on()
            code = self._child.wait()
            if self._asked:
                return code if code > 0 else 0  # by a signal: it was asked before it could listen
            if code == _WRONG_USE:
                return code
            crashes = 1 if time.monotonic() - began > _LIVED_S else crashes + 1
            delay_s = self._delays_s[min(crashes, len(self._delays_s)) - 1]
            _say(f"the worker ended with code {code} unasked; starts again in {delay_s:g} s")
            self._wait(delay_s)
        return 0

    def _wait(self, delay_s: float) -> None:
        until = time.monotonic() + delay_s
        while not self._asked and time.monotonic() < until:
            time.sleep(min(_LOOK_EVERY_S, delay_s))

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(number)
        self._pass_on()

    def _pass_on(self) -> None:
        """Sends the child what it was not sent yet; where there is none yet, the start sends it."""
        while self._child is not None and self._passed_on < len(self._asked):
            number = self._asked[self._passed_on]
            self._passed_on += 1
            self._child.send_signal(number)


def follow(parent: int) -> None:
    """For the child: the kernel sends it SIGTERM, so that it drains, when `parent`, which started it, is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(0)  # it is gone already


def paths_in_full() -> dict[str, str]:
    """The paths that this process was told, as they are in its own folder: its child stands in another one."""
    told = {name: os.environ.get(name) for name in (WORKSPACE, POLICY_VARIABLE)}
    return {name: str(Path(path).expanduser().absolute()) for name, path in told.items() if path}


def worker_command(spec: WorkerSpec, drain_timeout_s: float, *, healthcheck: bool = False) -> list[str]:
    """What the child of this process is."""
    return [
        *(sys.executable, "-m", "deployments.drainable", "--pool", spec.pool, "--name", spec.name),
        *(word for queue in spec.queues for word in ("--work-queue", queue)),
        *("--limit", str(spec.limit)),
        *(word for number in spec.gpus for word in ("--gpu", str(number))),
        *("--drain-timeout-s", f"{drain_timeout_s:g}", "--parent", str(os.getpid())),
        *(["--with-healthcheck"] if healthcheck else []),
    ]


def arguments_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.worker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", help="what the worker is for")
    parser.add_argument(
        "--drain-timeout-s",
        type=float,
        default=DRAIN_TIMEOUT_S,
        help="how long its runs may take to end after the first SIGTERM (default: %(default)g)",
    )
    parser.add_argument(
        "--cuda-visible-devices",
        metavar="NUMBERS",
        help="what the role's GPUs are called where this runs: a container sees its one GPU as 0, whatever its number",
    )
    parser.add_argument(
        "--with-healthcheck",
        action="store_true",
        help="answer at PREFECT_WORKER_WEBSERVER_HOST and _PORT whether the worker still asks for work",
    )
    return parser.parse_args(arguments)


def chosen_spec(role: str, cuda_visible_devices: str | None) -> WorkerSpec:
    """The worker of this machine with that role.

    Raises:
        SettingsError: The policy is wrong, or gives this machine no such worker.
        GpuNotShownError: It gives it one, and the driver does not show its GPUs.
    """
    policy = load_policy()
    if cuda_visible_devices is not None:  # the driver counts otherwise here: the policy is taken at its word
        spec = spec_of(role, policy.model_copy(update={"detect": False}), Driver([]), this_host())
        return replace(spec, environment={**spec.environment, "CUDA_VISIBLE_DEVICES": cuda_visible_devices})
    driver = ask_driver()
    for line in left_out(policy, driver.gpus):
        _say(line)
    return spec_of(role, policy, driver, this_host())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    given = arguments_of(arguments)
    try:
        spec = chosen_spec(given.role, given.cuda_visible_devices)
    except ArcError as error:
        sys.stderr.write(f"Failed: {error}\n")
        return error.exit_code
    command = worker_command(spec, given.drain_timeout_s, healthcheck=given.with_healthcheck)
    return Supervisor(command, {**spec.environment, **paths_in_full()}).run()


if __name__ == "__main__":
    sys.exit(main())
