"""What works on a GPU: processes and readings are made-up test data; one test has a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glaucoma.machine.processes import RUN_ID, RunProcess, end_run_processes, run_processes
from glaucoma.machine.readings import GpuProcess, GpuReading
from glaucoma.training.gpu_work import last_progress, work_of
from glaucoma.training.processes import MARK
from glaucoma.workspace import Workspace

BEGAN = datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def process(pid: int, run: str, **environment: str) -> RunProcess:
    return RunProcess(pid, BEGAN, run, environment)


def training(space: Workspace, name: str, progress: str | None) -> str:
    """The mark of an experiment's folder with that progress."""
    folder = space.experiments / name
    (folder / "logs").mkdir(parents=True)
    if progress is not None:
        (folder / "logs" / "progress.jsonl").write_text(progress)
    return f"1:2:{folder}"


def test_a_run_is_on_the_gpu_that_the_driver_names_or_its_worker_shows_it(space: Workspace) -> None:
    gpus = [
        GpuReading(gpu=0, processes=(GpuProcess(pid=10, memory_mb=None),)),
        GpuReading(gpu=1),
        GpuReading(gpu=2, uuid="GPU-2"),
    ]
    processes = [
        process(10, "by the driver", CUDA_VISIBLE_DEVICES="1"),
        process(11, "by its worker", CUDA_VISIBLE_DEVICES="1"),
        process(12, "by its worker", CUDA_VISIBLE_DEVICES="1"),
        process(13, "by uuid", CUDA_VISIBLE_DEVICES="GPU-2"),
        process(14, "on all", CUDA_VISIBLE_DEVICES="0,1"),
        process(15, "on none", CUDA_VISIBLE_DEVICES=""),
        process(16, "elsewhere", CUDA_VISIBLE_DEVICES="7,nonsense"),
        process(17, "a flow that steers"),
        process(18, "in a container", ARC_GPUS="1", CUDA_VISIBLE_DEVICES="0"),
        process(19, "in a container, on none", ARC_GPUS="", CUDA_VISIBLE_DEVICES="0"),
    ]
    found = {(work.gpu, work.run_id): work.pids for work in work_of(processes, gpus, space)}
    assert found == {
        (0, "by the driver"): (10,),
        (0, "on all"): (14,),
        (1, "by its worker"): (11, 12),
        (1, "on all"): (14,),
        (1, "in a container"): (18,),
        (2, "by uuid"): (13,),
    }


def test_a_training_moved_when_it_wrote_its_last_line_or_began(space: Workspace) -> None:
    line = '{"time": "%s", "step": 3}\n'
    later, before = BEGAN + timedelta(hours=1), BEGAN - timedelta(hours=1)
    torn = (line % later.isoformat()) + '{"time": "2026-01-02T09'
    marks = {
        "wrote": (training(space, "wrote", torn), later),
        "before": (training(space, "before", line % before.isoformat()), BEGAN),
        "nothing": (training(space, "nothing", None), BEGAN),
        "elsewhere": ("1:2:/somewhere/else", None),
    }
    processes = [
        process(n, name, **{MARK: mark, "CUDA_VISIBLE_DEVICES": "0"})
        for n, (name, (mark, _)) in enumerate(marks.items())
    ]
    for work in work_of(processes, [GpuReading(gpu=0)], space):
        expected = marks[str(work.run_id)][1]
        assert work.moved_at == expected, work.run_id
        assert work.experiment == (work.run_id if expected else None)


def test_where_no_line_can_be_read_the_files_time_counts(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text("damaged\n")
    os.utime(path, (1000, 1000))
    assert last_progress(path) == datetime.fromtimestamp(1000, UTC)
    assert last_progress(tmp_path / "none") is None


def test_the_processes_of_a_run_are_found_and_ended_with_those_that_do_not_listen() -> None:
    run_id = f"made-up-{os.getpid()}"
    deaf = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); "
        "time.sleep(600)']); child.wait()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", deaf], env={**os.environ, RUN_ID: run_id}, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    child = int(started.stdout.readline())  # told by itself: in the moment of its exec a process shows no environment
    there = {one.pid for one in run_processes() if one.run_id == run_id}
    assert there == {started.pid, child}
    assert end_run_processes(run_id, grace_s=0.0) == []
    started.wait(60)
    started.stdout.close()
    assert not [one for one in run_processes() if one.run_id == run_id]
