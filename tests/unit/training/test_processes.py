"""Real processes, ended in three steps, down to those that nobody is the parent of any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from glaucoma.training import processes
from glaucoma.training.processes import AT_ONCE, MARK, end_processes, kill_left_behind, mark_of

HEADER = """
import os, signal, subprocess, sys, time
def ready(*pids):
    print("ready", *pids, flush=True)
def sleeper(**more):
    return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], **more)
def wait():
    while True:
        time.sleep(600)
"""
Start = Callable[[str], tuple["subprocess.Popen[bytes]", list[int]]]


@pytest.fixture
def mark() -> str:
    return f"test:{uuid.uuid4().hex}"


@pytest.fixture
def start(mark: str) -> Iterator[Start]:
    """Starts a small program, waits until it says that it is ready, and gives it with the ids that it names."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(program: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", HEADER + textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            env={**os.environ, MARK: mark},
        )
        started.append(process)
        assert process.stdout is not None
        word, *pids = process.stdout.readline().split()
        assert word == b"ready"
        return process, [int(pid) for pid in pids]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    kill_left_behind(mark)


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_who_hears_the_question_ends_by_itself(start: Start, mark: str) -> None:
    process, _ = start("signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75)); ready(); wait()")
    end_processes([process], mark, 60)
    assert process.returncode == 75


def test_who_does_not_end_when_asked_is_told_to_stop_at_once(start: Start, mark: str) -> None:
    process, _ = start(
        """
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda *_: os._exit(76))
        ready()
        wait()
        """
    )
    end_processes([process], mark, 0.05)
    assert process.returncode == 76


def test_who_hears_nothing_is_killed(start: Start, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "AT_ONCE_S", 0.05)
    process, _ = start(
        "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)]; ready(); wait()"
    )
    end_processes([process], mark, 0.05)
    assert process.returncode == -signal.SIGKILL


def test_a_stopped_process_is_let_go_on_so_that_it_can_save(start: Start, mark: str) -> None:
    process, _ = start("signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75)); ready(); wait()")
    process.send_signal(signal.SIGSTOP)
    end_processes([process], mark, 60)
    assert process.returncode == 75


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        ("a child", "ready(sleeper().pid)"),
        ("one in a session of its own", "ready(sleeper(start_new_session=True).pid)"),
        ("one without the mark", "ready(sleeper(env={}).pid)"),
        ("one that is stopped", "child = sleeper(); child.send_signal(signal.SIGSTOP); ready(child.pid)"),
        (
            "one whose parent has ended",
            """
            reading, writing = os.pipe()
            if os.fork() == 0:
                os.write(writing, str(sleeper(start_new_session=True).pid).encode())
                os._exit(0)
            os.wait()
            ready(int(os.read(reading, 20)))
            """,
        ),
        ("one that ignores requests", "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(sleeper().pid)"),
    ],
)
def test_no_descendant_survives(start: Start, mark: str, kind: str, program: str) -> None:
    process, (descendant,) = start(textwrap.dedent(program) + "\nwait()\n")
    assert not gone(descendant)
    ended = end_processes([process], mark, 0)
    assert gone(process.pid)
    assert gone(descendant), kind
    assert {process.pid, descendant} <= ended.pids
    assert ended.alive == ()


def test_what_a_process_leaves_that_ended_by_itself_is_ended_too(start: Start, mark: str) -> None:
    process, (descendant,) = start("ready(sleeper().pid)")
    assert process.wait() == 0
    assert not gone(descendant)
    end_processes([process], mark, 60)
    assert gone(descendant)


def test_what_an_earlier_attempt_left_is_found_by_its_mark_and_nothing_else_is(start: Start, mark: str) -> None:
    process, (descendant,) = start("ready(sleeper().pid); wait()")
    while not psutil.Process(descendant).environ():  # the kernel shows it a moment after the program has begun
        pass
    process.kill()
    process.wait()
    assert kill_left_behind("another mark") == []
    assert not gone(descendant)
    assert kill_left_behind(mark) == [descendant]
    assert gone(descendant)


def test_a_second_cancel_in_the_middle_of_the_end_still_leaves_nothing(
    start: Start, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, (descendant,) = start("signal.signal(signal.SIGUSR1, signal.SIG_IGN); ready(sleeper().pid); wait()")

    def cancelled(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_wait", cancelled)
    with pytest.raises(KeyboardInterrupt):
        end_processes([process], mark, 60)
    assert gone(process.pid)
    assert gone(descendant)


def test_the_mark_is_that_of_the_folder_and_not_of_another_at_the_same_place(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    before = mark_of(folder)
    assert mark_of(tmp_path / "." / "experiment") == before
    folder.rename(tmp_path / "aside")
    folder.mkdir()
    assert mark_of(folder) != before


def test_the_request_to_stop_at_once_is_no_signal_of_a_cancel() -> None:
    assert AT_ONCE not in (signal.SIGTERM, signal.SIGINT)
