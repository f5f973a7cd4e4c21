"""Several processes for one training: started as torchrun would, tied to each other, and started by torchrun itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import glaucoma
from glaucoma.errors import TrainingError, TransientError
from glaucoma.training.experiment import Status, create_experiment
from glaucoma.training.progress_log import read_progress
from glaucoma.training.ranks import error_file, held_port, log_file
from glaucoma.training.supervise import is_complete, train

SUM = """
    import torch, torch.distributed as group
    group.init_process_group("gloo")
    value = torch.tensor([float(RANK + 1)])
    group.all_reduce(value)
    print("sum", int(value), flush=True)
    progress.write(event=f"rank {RANK}", message=os.environ["MASTER_PORT"])
    group.destroy_process_group()
    if RANK == 0:
        finish(experiment)
"""


@pytest.fixture
def two(execution):
    return execution.model_copy(update={"devices": 2})


def test_two_ranks_find_each_other_and_the_first_alone_writes_progress(spec, workspace, two, stand_in):
    stand_in(SUM)
    experiment = train(spec, workspace, two)
    assert is_complete(experiment)
    assert [log_file(experiment, rank).read_text().count("sum 3") for rank in (0, 1)] == [1, 1]
    assert [p.event for p in read_progress(experiment.progress_path)] == ["begin", "rank 0"]


def test_torchrun_starts_the_same_training(spec, workspace, two, stand_in):
    stand_in(SUM)
    experiment = create_experiment(spec, workspace)
    paths = [str(Path(glaucoma.__file__).parents[1]), os.environ["PYTHONPATH"]]
    program = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    options = ["--workspace", str(workspace.root), "--experiment", experiment.experiment_id]
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            *program,
            "-m",
            "glaucoma.training.child",
            *options,
            "--execution",
            two.model_dump_json(),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert is_complete(experiment)
    assert (experiment.status, experiment.metadata.attempts) == (Status.COMPLETED, 1)


@pytest.mark.parametrize("failing", [0, 1])
def test_the_end_of_one_ends_all_and_its_error_is_told(spec, workspace, two, stand_in, failing):
    stand_in(
        f"""
        from glaucoma.errors import TrainingError
        if RANK == {failing}:
            while len(list(experiment.results.iterdir())) < 1:
                pass
            raise TrainingError(f"rank {{RANK}} has failed")
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        (experiment.results / "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
        while True:  # as in a collective call, it hears nothing
            time.sleep(600)
        """
    )
    with pytest.raises(TrainingError, match=f"rank {failing} has failed"):
        train(spec, workspace, two)
    experiment = create_experiment(spec, workspace)
    pids = (experiment.results / "pids").read_text().split()
    assert not any(psutil.pid_exists(int(pid)) for pid in pids[:1])
    assert all(not psutil.pid_exists(int(p)) or psutil.Process(int(p)).status() == psutil.STATUS_ZOMBIE for p in pids)


def test_a_lost_rank_ends_all_and_is_named(spec, workspace, two, stand_in):
    stand_in("os.kill(os.getpid(), signal.SIGKILL) if RANK == 1 else wait_for_stop(should_stop)")
    with pytest.raises(TransientError, match=r"\(rank 1\) of cls-.* was killed by signal 9"):
        train(spec, workspace, two)


def test_memory_that_a_later_rank_has_not_is_halved_for_all(make_spec, workspace, two, stand_in):
    stand_in(
        """
        from glaucoma.errors import GpuMemoryError
        if RANK == 1 and execution.micro_batch_size is None:
            raise GpuMemoryError("The GPU's memory does not hold them")
        if execution.micro_batch_size is None:
            wait_for_stop(should_stop)
        if RANK == 0:
            finish(experiment)
        """
    )
    experiment = train(make_spec(batch_size=16), workspace, two)
    assert experiment.metadata.micro_batch_size == 4


def test_one_that_is_complete_earlier_leaves_the_first_the_time_to_write(spec, workspace, two, stand_in):
    stand_in(
        """
        if RANK == 1:
            (experiment.results / "gone").write_text(str(os.getpid()))
            return
        while not (pid := (experiment.results / "gone")).exists() or Path(f"/proc/{pid.read_text()}/fd/1").exists():
            time.sleep(0.01)
        finish(experiment)
        """
    )
    assert is_complete(train(spec, workspace, two))


def test_a_port_that_is_held_is_given_to_nobody_else_and_can_be_listened_on():
    with held_port() as port:
        others = []
        for _ in range(50):
            other = socket.socket()
            other.bind(("127.0.0.1", 0))
            others.append(other)
        assert port not in [other.getsockname()[1] for other in others]
        with socket.socket() as store:
            store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            store.bind(("", port))
            store.listen()
        for other in others:
            other.close()


def test_the_number_of_processes_must_be_the_settings_own(spec, workspace, two):
    experiment = create_experiment(spec, workspace)
    command = [sys.executable, "-m", "glaucoma.training.child", "--workspace", str(workspace.root)]
    command += ["--experiment", experiment.experiment_id, "--execution", two.model_dump_json()]
    ran = subprocess.run(command, check=False, cwd=Path(glaucoma.__file__).parents[1])
    assert ran.returncode == 5
    assert "devices is 2 in --execution, and there are 1 processes" in error_file(experiment).read_text()


def test_one_that_nobody_watches_begins_nothing_while_another_trains(spec, workspace, execution, stand_in):
    stand_in("finish(experiment)")
    experiment = create_experiment(spec, workspace)
    paths = [str(Path(glaucoma.__file__).parents[1]), os.environ["PYTHONPATH"]]
    command = [sys.executable, "-m", "glaucoma.training.child", "--workspace", str(workspace.root)]
    command += ["--experiment", experiment.experiment_id, "--execution", execution.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with experiment.lock(workspace):
        assert subprocess.run(command, check=False, env=environment).returncode == 3
    assert "Another process trains" in error_file(experiment).read_text()
    assert subprocess.run(command, check=False, env=environment).returncode == 0
    assert experiment.status is Status.COMPLETED
