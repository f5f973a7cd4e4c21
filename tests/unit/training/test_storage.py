"""Disks that are full or cannot be written, with real training processes."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from glaucoma.errors import DiskSpaceError, InputError, is_retryable
from glaucoma.training.exits import Exit, exit_of_storage
from glaucoma.training.experiment import Status, create_experiment
from glaucoma.training.storage import storage_errors_told
from glaucoma.training.supervise import is_complete, train
from glaucoma.workspace import Workspace


@pytest.fixture
def small_disk(tmp_path, prepare):
    """A workspace on a file system of its own of 512 kB; skipped where this user may not mount one."""
    root = tmp_path / "small"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(root)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system ({mounted.stderr.strip()})")
    prepare(root, 12, 32)
    yield Workspace.at(root)
    subprocess.run(["umount", "-l", str(root)], check=True)


def test_a_disk_that_fills_up_is_told_and_what_was_saved_serves_the_next_attempt(small_disk, spec, execution, stand_in):
    stand_in(
        """
        saved = experiment.checkpoints / "saved"
        if saved.exists():
            finish(experiment)
            return
        saved.write_bytes(b"a checkpoint")
        with (workspace.root / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        while True:
            progress.write(message="x" * 500)
        """
    )
    with pytest.raises(
        DiskSpaceError, match=r"filled up while cls-.* was trained.*0 bytes free now.*free some space"
    ) as caught:
        train(spec, small_disk, execution)
    assert not is_retryable(caught.value)

    (small_disk.root / "filler").unlink()
    experiment = train(spec, small_disk, execution)
    assert is_complete(experiment)
    assert (experiment.checkpoints / "saved").read_bytes() == b"a checkpoint"


def test_a_disk_that_is_full_before_the_start_is_told(small_disk, spec, execution):
    with pytest.raises(OSError, match="No space left"):
        (small_disk.root / "filler").write_bytes(bytes(2**20))
    with pytest.raises(DiskSpaceError, match="filled up"):
        train(spec, small_disk, execution)


def test_a_disk_that_becomes_read_only_is_told_with_the_remedy(small_disk, spec, execution, stand_in):
    experiment = create_experiment(spec, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk.root)], check=True)
    with pytest.raises(InputError, match=r"cannot be written.*Read-only.*mount it for writing") as caught:
        train(spec, small_disk, execution)
    assert not is_retryable(caught.value)
    assert experiment.status is Status.CREATED


def test_progress_that_the_disk_does_not_take_ends_the_training_with_that_reason(spec, workspace, execution, stand_in):
    stand_in("finish(experiment)")
    experiment = create_experiment(spec, workspace)
    experiment.progress_path.symlink_to("/dev/full")
    with pytest.raises(DiskSpaceError, match=r"filled up while cls-.* was trained.*Remedy: free some space"):
        train(spec, workspace, execution)
    assert experiment.status is Status.INTERRUPTED


def test_a_file_larger_than_the_limit_of_this_process_counts_as_a_full_disk(spec, workspace, execution, stand_in):
    stand_in(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        (experiment.checkpoints / "last.pt").write_bytes(bytes(8192))
        """
    )
    with pytest.raises(DiskSpaceError, match="filled up"):
        train(spec, workspace, execution)


@pytest.mark.parametrize(
    ("number", "path", "code"),
    [
        (errno.ENOSPC, None, Exit.DISK_FULL),
        (errno.EDQUOT, "/elsewhere", Exit.DISK_FULL),
        (errno.EROFS, "/workspace/experiments/x/metadata.json", Exit.NOT_WRITABLE),
        (errno.EACCES, "/workspace/.locks/x", Exit.NOT_WRITABLE),
        (errno.EACCES, "/usr/bin/python", None),
        (errno.EIO, "/workspace/experiments/x", None),
    ],
)
def test_only_a_full_disk_and_a_workspace_that_is_not_writable_are_told_as_that(number, path, code):
    error = OSError(number, "as the system says", path)
    assert exit_of_storage(error, Path("/workspace")) is code
    if code is None:
        with pytest.raises(OSError, match="as the system says"), storage_errors_told(Path("/w/e"), Path("/workspace")):
            raise error
