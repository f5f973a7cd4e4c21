"""What the ends of a training's processes mean."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from glaucoma import errors
from glaucoma.errors import (
    ArcError,
    DiskSpaceError,
    GpuMemoryError,
    InputError,
    SettingsError,
    TrainingError,
    TransientError,
)
from glaucoma.training.exits import Exit, exit_of
from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.outcome import End, raise_for
from glaucoma.training.ranks import error_file, log_file


@pytest.fixture
def experiment(spec, workspace) -> Experiment:
    return create_experiment(spec, workspace)


def tell(experiment: Experiment, rank: int, kind: type[ArcError], message: str) -> None:
    error_file(experiment, rank).write_text(json.dumps({"class": kind.__name__, "message": message}))


def test_each_error_has_its_exit_code():
    expected = {
        SettingsError: Exit.SETTING_REFUSED,
        InputError: Exit.INPUT,
        GpuMemoryError: Exit.MEMORY,
        DiskSpaceError: Exit.DISK_FULL,
        TrainingError: Exit.TOLD,
        TransientError: Exit.TOLD,
    }
    assert {kind: exit_of(kind("x")) for kind in expected} == expected


def test_the_reference_lists_every_exit_code():
    page = (Path(errors.__file__).parents[1] / "docs" / "reference" / "how-a-training-ends.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == {int(code) for code in Exit}


@pytest.mark.parametrize(
    ("ends", "kind", "said"),
    [
        ([(0, 3), (1, 6)], TrainingError, "of rank 0"),
        ([(2, 6), (1, 3)], GpuMemoryError, "of rank 2"),
        ([(0, 1), (1, 6)], GpuMemoryError, "of rank 1"),
        ([(0, -6), (1, 3)], TrainingError, "of rank 1"),
        ([(1, 1), (0, -11)], TransientError, "was killed by signal 11"),
        ([(2, 9), (1, 1)], TransientError, r"\(rank 2\) .* ended with exit code 9"),
        ([(1, 75), (2, 5)], SettingsError, "of rank 2"),
        ([(1, 76), (0, 75)], TransientError, "Its state is saved"),
        ([(1, 0), (0, 0)], TransientError, "without a model"),
        ([(1, 0), (0, 4)], DiskSpaceError, "filled up"),
        ([(0, 7)], InputError, "cannot be written"),
    ],
)
def test_the_cause_is_told_the_first_ranks_before_others_and_else_that_of_the_first_that_failed(
    experiment, ends, kind, said
):
    kinds = {3: TrainingError, 5: SettingsError, 6: GpuMemoryError}
    for rank, code in ends:
        if code in kinds:
            tell(experiment, rank, kinds[code], f"of rank {rank}")
    with pytest.raises(kind, match=said) as raised:
        raise_for([End(rank, code) for rank, code in ends], experiment)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"class": 3}', b'{"class": ["x"], "message": ""}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_damaged_error_file_leaves_the_exit_code_and_the_log_to_tell(experiment, content):
    error_file(experiment).write_bytes(content)
    log_file(experiment).write_bytes(b"\xff the last words\n")
    with pytest.raises(TransientError, match=r"ended with exit code 3; its last lines: .* the last words"):
        raise_for([End(0, Exit.TOLD)], experiment)


def test_a_name_that_is_no_error_is_never_called(experiment):
    error_file(experiment).write_text(json.dumps({"class": "problems", "message": "from elsewhere"}))
    with pytest.raises(TrainingError, match="from elsewhere"):
        raise_for([End(0, Exit.TOLD)], experiment)


def test_of_a_long_log_only_the_end_is_told(experiment):
    with log_file(experiment, 1).open("wb") as log:
        log.truncate(300_000_000)
        log.seek(0, 2)
        log.write(b"\nthe end\n")
    with pytest.raises(TransientError) as raised:
        raise_for([End(1, 1)], experiment)
    assert "the end" in str(raised.value)
    assert len(str(raised.value)) < 100_000


def test_a_kill_is_the_kernels_only_where_the_kernel_counted_one(experiment):
    with pytest.raises(TransientError, match="was killed by signal 9; its last lines"):
        raise_for([End(0, -9)], experiment)
    with pytest.raises(TransientError, match="most likely by the kernel"):
        raise_for([End(0, -9)], experiment, oom_kills=1)
