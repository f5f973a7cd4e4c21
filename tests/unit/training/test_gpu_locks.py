"""GPUs with made-up numbers, held by real processes: who waits, who goes first, and what a kill frees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from glaucoma.training import device, gpu_locks, loop, progress_log
from glaucoma.training.experiment import create_experiment
from glaucoma.training.gpu_locks import BUSY, QUEUE, TURN, hold
from glaucoma.training.progress_log import ProgressWriter, read_progress
from glaucoma.workspace import Workspace

HOLDER = Path(__file__).with_name("gpu_holder.py")


class Holder:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def says(self, wanted: str) -> bool:
        """Reads on until the line comes; False where the process ends without it."""
        assert self.process.stdout is not None
        return any(wanted in line for line in self.process.stdout)

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    started: list[subprocess.Popen[str]] = []

    def begin(gpus: str, group: str = "", role: str = "first") -> Holder:
        command = [sys.executable, str(HOLDER), gpus, str(tmp_path / "locks"), group, role]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return Holder(process)

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_one_gpu_is_held_by_one_and_another_is_free(start: Callable[..., Holder]) -> None:
    first = start("0")
    assert first.says("held")
    same, other = start("0"), start("1")
    assert other.says("held")
    assert same.says(BUSY)
    first.process.kill()  # as by kill -9: the kernel frees the lock
    assert same.says("held")


def test_a_training_of_all_gpus_waits_for_both_and_none_that_came_later_goes_before_it(
    start: Callable[..., Holder],
) -> None:
    first = start("0")
    assert first.says("held")
    whole = start("0,1")
    assert whole.says("waiting for GPU 1 of 2")
    late = start("1")  # GPU 1 is free, and yet
    assert late.says(TURN)
    first.let_go()
    assert whole.says("held")
    assert late.says(BUSY)
    whole.let_go()
    assert late.says("held")


def test_two_trainings_of_all_gpus_do_not_wait_for_each_other(start: Callable[..., Holder]) -> None:
    first = start("0")
    assert first.says("held")
    one = start("0,1")
    assert one.says("waiting for GPU 1 of 2")
    other = start("1,0")
    assert other.says(QUEUE)
    first.let_go()
    assert one.says("held")
    assert other.says("waiting for GPU 1 of 2")
    one.let_go()
    assert other.says("held")


def test_one_that_is_killed_while_it_waits_for_all_keeps_nobody_out(start: Callable[..., Holder]) -> None:
    first = start("0")
    assert first.says("held")
    whole = start("0,1")
    assert whole.says("waiting for GPU 1 of 2")
    late = start("1")
    assert late.says(TURN)
    whole.process.kill()
    assert late.says("held")


def test_a_gpu_is_held_for_as_long_as_any_process_of_its_training_lives(start: Callable[..., Holder]) -> None:
    second = start("1", "launch-1", "joins")
    assert second.says("waiting for the first process")
    whole = start("0,1", "launch-1")
    assert whole.says("held")
    assert second.says("held")
    whole.process.kill()
    freed, kept = start("0"), start("1")
    assert freed.says("held")
    assert kept.says(BUSY)
    second.let_go()
    assert kept.says("held")


def test_what_an_earlier_training_left_in_the_file_admits_nobody(start: Callable[..., Holder]) -> None:
    before = start("0,1", "launch-1")
    assert before.says("held")
    before.let_go()
    late = start("1", "launch-2", "joins")
    assert late.says("waiting for the first process")
    now = start("0,1", "launch-2")
    assert now.says("held")
    assert late.says("held")


def test_who_waits_can_be_called_off(tmp_path: Path) -> None:
    def enough(what: str) -> None:
        raise InterruptedError(what)

    with hold(["0"], tmp_path, enough):
        with pytest.raises(InterruptedError, match="another training holds"), hold(["0", "1"], tmp_path, enough):
            pass
        with hold(["1"], tmp_path, enough):  # the turnstile is free again
            pass


def test_machines_that_share_a_workspace_have_locks_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = set()
    for host in ("one", "other"):
        monkeypatch.setattr(gpu_locks, "this_host", lambda host=host: host)
        folders.add(gpu_locks.lock_folder(Workspace(tmp_path)))
    assert len(folders) == 2


def test_without_a_driver_a_gpu_is_called_by_its_number_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert [device.gpu_name(number) for number in range(2)] == ["2", "5"]


def test_the_first_process_of_a_training_holds_the_gpus_of_all_and_the_others_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enough(what: str) -> None:
        raise InterruptedError(what)

    monkeypatch.setattr(device, "gpu_name", str)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    workspace, cards = Workspace(tmp_path), [torch.device("cuda", number) for number in range(2)]
    with pytest.raises(InterruptedError, match="the first process"):
        device.held(cards[1], workspace, enough, local_rank=1, local_world=2).__enter__()
    with (
        device.held(cards[0], workspace, enough, local_rank=0, local_world=2),
        device.held(cards[1], workspace, enough, local_rank=1, local_world=2),
    ):
        for card in cards:
            with pytest.raises(InterruptedError, match="another training holds"):
                device.held(card, workspace, enough).__enter__()
    with device.held(cards[1], workspace, enough):
        pass


def test_waiting_is_told_once_and_then_only_that_it_lasts(
    workspace: Workspace, spec: Any, execution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(*given: Any, **_: Any) -> Any:
        for what in ("one", "one", "other"):
            given[2](what)
        raise loop.StoppedError

    monkeypatch.setattr(loop, "held", waits)
    monkeypatch.setattr(progress_log, "INTERVAL_S", -1.0)
    experiment = create_experiment(spec, workspace)
    progress = ProgressWriter(experiment.progress_path)
    with pytest.raises(loop.StoppedError):
        loop.run_training(experiment, workspace, execution, progress, lambda _: False)
    progress.close()
    lines = read_progress(experiment.progress_path)
    assert [(line.event, line.message) for line in lines] == [
        ("waiting", "one"),
        (None, "one"),
        (None, "one"),
        ("waiting", "other"),
        (None, "other"),
    ]
    assert all(line.waits for line in lines)
