"""Temporary servers that outlived their command, played by processes that only wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest
from prefect.server.api import server
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.embedded import end_left_servers, mark_this_command, shield_server

Start = Callable[..., subprocess.Popen[bytes]]
TEMPORARY = {"PREFECT__SERVER_EPHEMERAL": "1"}


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[bytes]] = []

    def run(**variables: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **variables}
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def this_command(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ARC_COMMAND", "")
    mark_this_command()
    return os.environ["ARC_COMMAND"]


def test_only_a_temporary_server_whose_command_is_gone_is_ended(start: Start, this_command: str) -> None:
    pid, _, began = this_command.partition(":")
    gone = start(**TEMPORARY, ARC_COMMAND=f"{2**22 + 1}:{began}")
    pid_used_again = start(**TEMPORARY, ARC_COMMAND=f"{pid}:1")
    kept = [
        start(**TEMPORARY, ARC_COMMAND=this_command),
        start(**TEMPORARY, ARC_COMMAND=""),
        start(ARC_COMMAND=f"{2**22 + 1}:{began}"),
    ]
    assert end_left_servers() == 2
    for ended in (gone, pid_used_again):
        ended.wait(10)
        assert not psutil.pid_exists(ended.pid)
    assert all(psutil.Process(process.pid).is_running() and process.poll() is None for process in kept)


def test_the_temporary_server_does_not_hear_the_ctrl_c_that_the_command_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "subprocess", subprocess)  # put back afterwards
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        shield_server()
        process = server.SubprocessASGIServer(port=1)._run_uvicorn_command()
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    process.wait(10)
