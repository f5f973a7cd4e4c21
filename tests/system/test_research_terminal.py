"""Continuous research in a terminal: one Ctrl-C lets the stage finish, two end it now, and it is taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(3000)]


def command(archive: Path) -> list[str]:
    options = (
        "--name night --budget.cycles 1 --json --cycle.name eyes --preset smoke --cycle.train.classifier small_cnn"
    )
    options += " --cycle.train.input-px 32 --cycle.train.epochs 500 --cycle.train.patience 500"
    options += " --cycle.train.batch-size 8 --cycle.train.execution.device cpu --cycle.preprocess.image-size-px 64"
    options += " --cycle.evaluate.replicates 100 --cycle.explain.max-images 4 --cycle.explain.overlays 2"
    return [sys.executable, "-m", "flows.research", *options.split(), "--cycle.archive", str(archive)]


def trainings(workspace: Path) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in workspace.glob("experiments/*/metadata.json")]
    return {one["experiment_id"]: one for one in found}


def epochs(workspace: Path, name: str) -> int:
    path = workspace / "experiments" / name / "logs" / "progress.jsonl"
    return path.read_text().count('"val": {') if path.is_file() else 0


def test_one_interrupt_ends_it_after_the_stage_two_at_once_and_the_same_command_completes_the_one_cycle(
    archive: Path,
    environment: dict[str, str],
    project: Path,
    tmp_path: Path,
    wait_for: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> None:
    workspace, started_ones = Path(environment["ARC_WORKSPACE"]), list[subprocess.Popen[bytes]]()

    def end_all() -> None:
        for one in started_ones:
            if one.poll() is None:
                one.kill()  # and with it, by the kernel, the process that works, and its training
                one.wait()

    request.addfinalizer(end_all)

    def begin(name: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / name
        with log.open("wb") as out:
            started = subprocess.Popen(
                command(archive), cwd=project, env=environment, stdout=out, stderr=out, start_new_session=True
            )
        started_ones.append(started)
        return started, log

    def ctrl_c(process: subprocess.Popen[bytes]) -> None:
        """As a terminal does it: to every process of the command's own group."""
        os.killpg(process.pid, signal.SIGINT)

    def in_training(process: subprocess.Popen[bytes], log: Path, others: set[str]) -> str:
        def look() -> str | None:
            assert process.poll() is None, log.read_text()[-3000:]
            return next((n for n in trainings(workspace) if n not in others and epochs(workspace, n) >= 2), None)

        return str(wait_for(look, 900, "two epochs of a training"))

    first, log = begin("first.log")
    name = in_training(first, log, set())
    ctrl_c(first)
    assert first.wait(timeout=600) == 1, log.read_text()[-3000:]
    assert "Ends after the stage that runs" in log.read_text()
    assert "Interrupted. The same command goes on" in log.read_text()
    trained = trainings(workspace)[name]
    assert (trained["status"], trained["attempts"]) == ("completed", 1), "the stage that ran was finished"
    assert not (workspace / "experiments" / name / "results" / "val").exists(), "no other one was begun"
    state = json.loads((workspace / "research" / "night" / "state.json").read_text())
    assert (state["under_way"]["number"], state["spent"]["cycles"]) == (1, 0)

    second, log = begin("second.log")
    other = in_training(second, log, {name})
    ctrl_c(second)
    wait_for(lambda: "Ends after the stage" in log.read_text(), 300, "the answer to the first interrupt")
    ctrl_c(second)
    assert second.wait(timeout=300) == 1, log.read_text()[-3000:]
    cut = trainings(workspace)[other]
    assert cut["status"] in ("interrupted", "cancelled"), "ended now"
    assert (workspace / "experiments" / other / "checkpoints" / "last.pt").is_file(), "and saved"

    third = subprocess.run(command(archive), cwd=project, env=environment, capture_output=True, text=True, timeout=900)
    assert third.returncode == 0, third.stderr[-3000:]
    (turn,) = json.loads(third.stdout)["turns"]
    assert (turn["ran"], turn["next"], turn["spent"]["cycles"]) == ("completed", "stop", 1)
    assert "1 of 1 cycles" in turn["says"]
    (line,) = (workspace / "research" / "night" / "journal.jsonl").read_text().splitlines()
    end = json.loads(line)
    assert (end["number"], end["attempts"], end["outcome"]) == (1, 3, "completed")
    assert end["gpu_hours"] == 0
    assert end["cpu_hours"] > 0
    assert len(list(workspace.glob("cycles/*"))) == 1
    assert {one["status"] for one in trainings(workspace).values()} == {"completed"}
