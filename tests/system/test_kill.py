"""kill -9 of a cycle in mid-training, and the same command again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def command(archive: Path) -> list[str]:
    options = "--name eyes --preset smoke --json --train.classifier small_cnn --train.input-px 32 --train.epochs 150"
    options += " --train.batch-size 8 --train.execution.device cpu --preprocess.image-size-px 64"
    options += " --plan.experiments-per-task 1 --evaluate.replicates 100 --explain.max-images 4 --explain.overlays 2"
    return [sys.executable, "-m", "flows.research_cycle", "--archive", str(archive), *options.split()]


def validated_epochs(workspace: Path) -> list[dict[str, Any]]:
    lines = [
        line for path in workspace.glob("experiments/*/logs/progress.jsonl") for line in path.read_text().splitlines()
    ]
    return [entry for entry in map(json.loads, lines[:-1]) if entry.get("val")]


def stamps(workspace: Path) -> dict[str, int]:
    """When each finished stage's record was written."""
    patterns = ("archives/*/archive.json", "datasets/*/*/dataset.json", "validations/*/*/validation.json",
                "prepared/*/*/prepared.json", "data_registry.yaml", "cycles/*/plan.json")  # fmt: skip
    return {str(p): p.stat().st_mtime_ns for pattern in patterns for p in workspace.glob(pattern)}


def test_a_killed_cycle_is_completed_by_the_same_command_with_no_stage_done_twice(
    archive: Path, environment: dict[str, str], project: Path, tmp_path: Path, wait_for: Callable[..., Any]
) -> None:
    workspace = Path(environment["ARC_WORKSPACE"])
    with (tmp_path / "first.log").open("wb") as log:
        first = subprocess.Popen(command(archive), cwd=project, env=environment, stdout=log, stderr=log)

        def in_training() -> bool:
            assert first.poll() is None, (tmp_path / "first.log").read_text()[-3000:]
            saved = any(workspace.glob("experiments/*/checkpoints/last.pt"))
            return saved and len(validated_epochs(workspace)) >= 5

        wait_for(in_training, 180, "five epochs of training and a checkpoint")
        children = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGKILL)
        first.wait()
    trainers = [child for child in children if "glaucoma.training.child" in " ".join(_cmdline(child))]
    _, alive = psutil.wait_procs(trainers, timeout=20)
    assert alive == []
    before, epochs_before = stamps(workspace), len(validated_epochs(workspace))
    assert len({Path(path).name for path in before}) == 6

    second = subprocess.run(command(archive), cwd=project, env=environment, capture_output=True, text=True, timeout=240)
    left = [child.cmdline() for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    for child in children:
        if child.is_running():
            child.kill()
    assert second.returncode == 0, second.stderr[-3000:]
    assert left == [], "the temporary server of the killed command is ended by the next one"
    record = json.loads(second.stdout)["record"]
    assert record["status"] == "completed"
    assert [e["status"] for e in record["experiments"]] == ["completed"]
    assert stamps(workspace) == before
    assert len(list(workspace.glob("cycles/*"))) == 1
    assert list(workspace.rglob("*partial*")) == []

    (resumed,) = [json.loads(p.read_text()) for p in workspace.glob("experiments/*/metadata.json")]
    assert resumed["attempts"] == 2
    log_path = workspace / "experiments" / resumed["experiment_id"] / "logs" / "progress.jsonl"
    entries = [json.loads(line) for line in log_path.read_text().splitlines()]
    epochs = [e["epoch"] for e in entries if e.get("val")]
    assert epochs_before >= 5
    goes_on_at = next(e["epoch"] for e in entries if e.get("event") == "resume")
    again = {epoch for epoch in epochs if epochs.count(epoch) > 1}
    assert goes_on_at > 1
    assert min(again, default=goes_on_at) >= goes_on_at, "only what follows the last checkpoint is done again"


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
