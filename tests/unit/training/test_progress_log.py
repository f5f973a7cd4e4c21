"""The progress file, damaged in every way: whoever reads it goes on."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from glaucoma.training.progress_log import (
    LONGEST_LINE_BYTES,
    ProgressReader,
    ProgressWriter,
    SilentProgress,
    read_progress,
)

GOOD = b'{"time": "2026-01-01T00:00:00Z", "step": %d}\n'
DAMAGE = {
    "binary rubbish": bytes(range(256)) * 20 + b"\n",
    "a torn line": b'{"time": "2026-01-01T00:0\n',
    "an unknown field": b'{"time": "2026-01-01T00:00:00Z", "stepp": 1}\n',
    "no object": b"[1, 2]\n",
    "deep nesting": b"[" * 20_000 + b"\n",
    "a huge number": b'{"time": "2026-01-01T00:00:00Z", "step": 1' + b"0" * 5000 + b"}\n",
    "another encoding": '{"time": "2026-01-01T00:00:00Z"}\n'.encode("utf-16") + b"\n",
    "a gigantic line": b"x" * (3 * LONGEST_LINE_BYTES) + b"\n",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.jsonl"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as handle:
        handle.write(content)


def steps(reader: ProgressReader) -> list[int]:
    return [progress.step for progress in reader.new()]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_line_is_left_out_and_the_next_one_is_read(path: Path, damage: bytes) -> None:
    path.touch()
    reader = ProgressReader(path)
    append(path, GOOD % 1 + damage + GOOD % 2)
    assert steps(reader) == [1, 2]
    assert reader.left_out >= 1
    assert [progress.step for progress in read_progress(path)] == [1, 2]


def test_empty_lines_are_no_damage(path: Path) -> None:
    path.touch()
    reader = ProgressReader(path)
    append(path, b"\n\n" + GOOD % 1 + b"\n")
    assert steps(reader) == [1]
    assert reader.left_out == 0


def test_a_line_without_end_is_never_held_whole(path: Path) -> None:
    path.touch()
    reader = ProgressReader(path)
    with path.open("r+b") as handle:
        handle.truncate(200_000_000)  # zeros, which take no place on the disk
    tracemalloc.start()
    assert steps(reader) == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000
    append(path, b"\n" + GOOD % 7)
    assert steps(reader) == [7]


def test_a_file_cut_short_is_followed_from_its_new_end(path: Path) -> None:
    path.touch()
    reader = ProgressReader(path)
    append(path, GOOD % 1 + GOOD % 2)
    assert steps(reader) == [1, 2]
    with path.open("r+b") as handle:
        handle.truncate(3)
    assert steps(reader) == []
    append(path, b"\n" + GOOD % 3)
    assert steps(reader) == [3]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_removed_or_replaced_is_begun_anew_by_the_writer_and_followed_by_the_reader(
    path: Path, replaced: bool
) -> None:
    writer = ProgressWriter(path)
    reader = ProgressReader(path)
    writer.write(step=1)
    assert steps(reader) == [1]
    path.unlink()
    assert steps(reader) == []
    if replaced:
        append(path, GOOD % 5)
    writer.write(step=2)
    writer.close()
    assert steps(reader) == ([5, 2] if replaced else [2])


def test_what_cannot_be_opened_is_told_and_not_raised(tmp_path: Path) -> None:
    reader = ProgressReader(tmp_path / "file" / "progress.jsonl")
    (tmp_path / "file").write_text("")
    assert steps(reader) == []
    assert "Not a directory" in reader.problem


def test_the_ranks_after_the_first_write_nothing() -> None:
    silent = SilentProgress()
    silent.write(step=1)
    silent.step(step=2)
    silent.close()
