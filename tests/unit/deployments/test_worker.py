"""The command that keeps a worker, with a small program in the worker's place and real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments import worker
from deployments.gpus import Driver, GpuPolicy, worker_specs
from deployments.worker import DRAIN_TIMEOUT_S, arguments_of, chosen_spec, worker_command
from glaucoma.errors import SettingsError

WORKER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from deployments.worker import follow

said = Path(sys.argv[1])
def say(what):
    with said.open("a") as lines:
        lines.write(what + "\\n")

asked = 0
def heard(number, frame):
    global asked
    asked += 1
    say(signal.Signals(number).name)
    if number == signal.SIGINT or asked > 1:
        run.kill()

follow(int(sys.argv[2]) if sys.argv[2] != "0" else os.getppid())
run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, heard)
say("ready")
while True:
    if said.with_name("end-the-run").exists():
        run.communicate(b"\\n")
    if run.poll() is not None and asked:
        say("ended after its run")
        sys.exit(0)
    if said.with_name("crash").exists():
        said.with_name("crash").unlink()
        run.kill()
        sys.exit(1)
    time.sleep(0.02)
"""
KEEPER = """
import sys
from deployments.worker import Supervisor
sys.exit(Supervisor(sys.argv[1:], {}, delays_s=[0.01]).run())
"""


class Kept:
    """A running keeper with the small program as its child."""

    def __init__(self, folder):
        self.folder, self.said = folder, folder / "said"
        program = folder / "worker.py"
        program.write_text(WORKER)
        command = [sys.executable, "-c", KEEPER, sys.executable, str(program), str(self.said), "0"]
        project = Path(__file__).resolve().parents[3]
        environment = {**os.environ, "PYTHONPATH": str(project)}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True)

    def lines(self):
        return self.said.read_text().splitlines() if self.said.exists() else []

    def until(self, true):
        deadline = time.monotonic() + 120
        while not true():
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.02)  # between two looks at the thing itself

    def ready(self, times=1):
        self.until(lambda: self.lines().count("ready") == times)


@pytest.fixture
def kept(tmp_path):
    keeper = Kept(tmp_path)
    yield keeper
    (tmp_path / "end-the-run").touch()
    if keeper.process.poll() is None:
        keeper.process.send_signal(signal.SIGINT)
    keeper.process.wait(60)


def test_the_first_sigterm_lets_the_runs_end_and_then_the_worker_and_its_keeper(kept):
    kept.ready()
    kept.process.terminate()
    kept.until(lambda: "SIGTERM" in kept.lines())
    assert kept.process.poll() is None, "a run still goes on"
    (kept.folder / "end-the-run").touch()
    assert kept.process.wait(60) == 0
    assert kept.lines()[1:] == ["SIGTERM", "ended after its run"]


@pytest.mark.parametrize("then", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_passed_on_and_ends_the_runs_now(kept, then):
    kept.ready()
    kept.process.terminate()
    kept.until(lambda: "SIGTERM" in kept.lines())
    kept.process.send_signal(then)
    assert kept.process.wait(60) == 0
    assert kept.lines()[1:] == ["SIGTERM", then.name, "ended after its run"]


def test_a_worker_that_crashes_is_started_again_until_it_is_asked_to_end(kept):
    for times in (1, 2):
        kept.ready(times)
        (kept.folder / "crash").touch()
    kept.ready(3)
    kept.process.send_signal(signal.SIGINT)
    assert kept.process.wait(60) == 0


def test_a_worker_whose_keeper_is_killed_drains(kept):
    kept.ready()
    kept.process.kill()
    kept.until(lambda: "SIGTERM" in kept.lines())
    (kept.folder / "end-the-run").touch()
    kept.until(lambda: kept.lines()[-1] == "ended after its run")


def test_a_worker_that_was_told_nonsense_is_not_started_again():
    command = [sys.executable, "-c", KEEPER, sys.executable, "-c", "import sys; sys.exit(2)"]
    project = Path(__file__).resolve().parents[3]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(project)}, timeout=120).returncode == 2


def test_the_childs_command_says_what_the_worker_is():
    spec = worker_specs(GpuPolicy(experiment=(3,)), [3], "eye")[3]
    words = worker_command(spec, 60, healthcheck=True)
    assert words[1:3] == ["-m", "deployments.drainable"]
    assert ("arc-gpu3-eye" in words, words.count("--work-queue"), words[words.index("--gpu") + 1]) == (True, 33, "3")
    assert words[-1] == "--with-healthcheck"


def test_in_a_container_a_gpu_has_another_number_than_on_the_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("ARC_GPU_POLICY", raising=False)
    spec = chosen_spec("gpu1", "0")
    assert spec.environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert spec.gpus == (1,), "its mark goes by the machine's number"


def test_paths_that_a_worker_was_told_are_those_of_the_folder_that_it_was_started_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARC_WORKSPACE", "mine")
    monkeypatch.delenv("ARC_GPU_POLICY", raising=False)
    told = []
    monkeypatch.setattr(worker.Supervisor, "run", lambda self: told.append(self._environment) or 0)
    assert worker.main(["cpu"]) == 0
    assert told[0]["ARC_WORKSPACE"] == str(tmp_path / "mine")
    assert "ARC_GPU_POLICY" not in told[0]


def test_a_role_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="no worker with the role 'gpu7'"):
        chosen_spec("gpu7", None)


def test_a_worker_whose_gpu_is_late_ends_so_that_systemd_starts_it_again(monkeypatch, capsys):
    monkeypatch.delenv("ARC_GPU_POLICY", raising=False)
    monkeypatch.setattr(worker, "ask_driver", lambda: Driver([], "Driver Not Loaded"))
    assert worker.main(["gpu0"]) == 1
    assert "Driver Not Loaded" in capsys.readouterr().err
    assert worker.main(["gpu7"]) == 2, "wrong settings stay wrong"


def test_the_time_for_draining_is_long_unless_it_is_given():
    assert arguments_of(["cpu"]).drain_timeout_s == DRAIN_TIMEOUT_S
    assert arguments_of(["cpu", "--drain-timeout-s", "5"]).drain_timeout_s == 5
