from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glaucoma import provenance
from glaucoma.errors import DiskSpaceError, IntegrityError
from glaucoma.provenance import Built, StageOutput, code_sha256, run_stage, stage_key, write_bytes, write_json
from glaucoma.settings import Settings
from glaucoma.workspace import Workspace


class Sample(Settings):
    number: int = 1


def make(workspace: Workspace, number: int = 1, text: str = "made", *, fail: Exception | None = None) -> StageOutput:
    def build(staging: Path) -> Built:
        (staging / "data.txt").write_text(text)
        if fail:
            raise fail
        return Built(counts={"files": 1}, details={"text": text})

    return run_stage(
        stage="sample",
        workspace=workspace,
        parent=workspace.root / "samples",
        record_name="sample.json",
        inputs={"source": "abc"},
        settings=Sample(number=number),
        module="glaucoma.errors",
        build=build,
    )


def test_a_stage_is_made_once_and_then_found_again(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    first, second = make(workspace), make(workspace, text="never written")
    assert (first.reused, second.reused) == (False, True)
    assert second.folder == first.folder
    assert (second.folder / "data.txt").read_text() == "made"
    assert second.record == first.record


def test_what_was_last_asked_for_is_the_newest_though_it_was_made_before(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    first, second = make(workspace, 1), make(workspace, 2)
    parent = first.folder.parent
    long_ago = 1_000_000_000
    for age, folder in enumerate((second.folder, first.folder)):
        os.utime(folder, (long_ago - age, long_ago - age))
    assert workspace.find(parent, None, "sample") == second.folder
    content = (first.folder / "sample.json").stat().st_mtime_ns
    make(workspace, 1)
    assert workspace.find(parent, None, "sample") == first.folder
    assert (first.folder / "sample.json").stat().st_mtime_ns == content, "nothing in the folder changed"
    assert workspace.find(parent, None, "sample") == make(workspace, 1).folder


def test_other_settings_make_another_output_beside_the_first(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    assert make(workspace, 1).folder != make(workspace, 2).folder


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    with pytest.raises(OSError, match="full"):
        make(workspace, fail=OSError(errno.ENOSPC, "full"))
    assert list((workspace.root / "samples").iterdir()) == []


def test_the_record_says_what_went_in(tmp_path: Path) -> None:
    output = make(Workspace.at(tmp_path), 7)
    content = json.loads((output.folder / "sample.json").read_text())
    assert content["inputs"] == {"source": "abc"}
    assert content["settings"] == {"number": 7}
    assert content["versions"]["python"]
    assert content["key"] == output.folder.name


def test_a_damaged_record_is_an_integrity_error(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    output = make(workspace)
    (output.folder / "sample.json").write_text("{")
    with pytest.raises(IntegrityError, match="not a valid stage record"):
        make(workspace)


def test_what_a_killed_process_left_in_staging_is_removed_by_the_next(tmp_path: Path) -> None:
    program = f"""
import time, pathlib
from glaucoma.provenance import run_stage, Built
from glaucoma.settings import Settings
from glaucoma.workspace import Workspace
class Sample(Settings):
    number: int = 1
def build(staging):
    (staging / "half.txt").write_text("half")
    print("in staging", flush=True)
    time.sleep(60)
w = Workspace.at({str(tmp_path)!r})
run_stage(stage="sample", workspace=w, parent=w.root / "samples", record_name="sample.json",
          inputs={{"source": "abc"}}, settings=Sample(), module="glaucoma.errors", build=build)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == b"in staging"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    samples = tmp_path / "samples"
    assert [p.name.startswith(".") for p in samples.iterdir()] == [True]
    output = make(Workspace.at(tmp_path))
    assert [p.name for p in samples.iterdir()] == [output.key]
    assert not (output.folder / "half.txt").exists()


def _slow_make(root: str, marks: str) -> None:
    def build(staging: Path) -> Built:
        fd = os.open(marks, os.O_APPEND | os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        os.close(fd)
        time.sleep(0.5)  # long enough for the other to arrive and wait
        return Built(counts={}, details={})

    workspace = Workspace.at(root)
    run_stage(
        stage="sample",
        workspace=workspace,
        parent=workspace.root / "samples",
        record_name="sample.json",
        inputs={},
        settings=Sample(),
        module="glaucoma.errors",
        build=build,
    )


def test_two_processes_that_want_the_same_key_share_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    marks = tmp_path / "marks"
    children = [context.Process(target=_slow_make, args=(str(tmp_path / "w"), str(marks))) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert marks.read_bytes() == b"x"


def test_the_key_changes_with_each_part_and_not_with_the_order() -> None:
    key = stage_key("s", {"a": "1", "b": "2"}, {"x": 1}, "code")
    assert key == stage_key("s", {"b": "2", "a": "1"}, {"x": 1}, "code")
    others = [
        stage_key("t", {"a": "1", "b": "2"}, {"x": 1}, "code"),
        stage_key("s", {"a": "1", "b": "3"}, {"x": 1}, "code"),
        stage_key("s", {"a": "1", "b": "2"}, {"x": 2}, "code"),
        stage_key("s", {"a": "1", "b": "2"}, {"x": 1}, "other"),
    ]
    assert len({key, *others}) == 5


def test_the_code_hash_covers_what_a_module_imports_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Path.read_bytes

    def remember(self: Path) -> bytes:
        read.append(self.name)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", remember)
    code_sha256.cache_clear()
    code_sha256("glaucoma.preprocessing.preprocess")
    assert {"preprocess.py", "chain.py", "manifest.py", "provenance.py", "errors.py"} <= set(read)
    assert not {"loop.py", "report.py", "ledger.py"} & set(read)


def test_the_code_is_hashed_without_importing_it() -> None:
    program = (
        "import sys; from glaucoma.provenance import code_sha256; code_sha256('glaucoma.training.loop'); "
        "print([name for name in ('torch', 'pandas', 'lightning', 'glaucoma.training.engine') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(provenance.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.0]}


def test_too_little_disk_space_says_how_much_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DiskSpaceError, match=r"[kMGT]B free at .*Expected: at least .* TB for the photographs"):
        provenance.require_disk_space(tmp_path / "not" / "there", 10**18, "the photographs")
