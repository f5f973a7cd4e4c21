"""Registrations at once, and kill -9 at chosen moments: nothing registered is lost, nothing is in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glaucoma.datasets.integrity import CheckPlace, check_registration
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings, read_registry
from glaucoma.datasets.restoring import restore_registration
from glaucoma.provenance import exclusive
from glaucoma.workspace import Workspace

Make = Callable[..., Path]
SETTINGS = RegisterSettings()

NURSERY = """
# Imports once what takes long, then makes a child process for each piece of code it is sent, and says how each ended.
import json, os, signal, sys, traceback, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from glaucoma.workspace import Workspace
from glaucoma.datasets import dvc_store, registering, restoring, sums
from glaucoma.datasets.registry import RegisterSettings
from dvc.dvcfile import SingleStageFile
from dvc.repo import Repo
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_objects.fs.local import LocalFileSystem

def die_at(owner, name, call=1, first=lambda *args: None, only=lambda *args: True):
    # Replaces a function by one that does what `first` says and kills this process, at the given call.
    there, calls = getattr(owner, name), []
    def dying(*args, **kwargs):
        if only(*args):
            calls.append(1)
            if len(calls) == call:
                first(*args)
                os.kill(os.getpid(), signal.SIGKILL)
        return there(*args, **kwargs)
    setattr(owner, name, dying)

def register(root, folder):
    registering.register(Path(folder), None, Path(folder).parent.name, Workspace.at(root), RegisterSettings())

def restore(root, folder):
    restoring.restore_registration(Path(folder).parent.name, None, Workspace.at(root), replace_damaged=True)

def child(code, root, folder):
    try:
        exec(code, globals() | {"root": root, "folder": folder})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def born(code, root, folder):
    return os.fork() or child(code, root, folder)

register(*sys.argv[1:])  # in a workspace for this alone, for what is imported late
print("ready", flush=True)
for line in sys.stdin:
    children = [born(*one) for one in json.loads(line)]
    print("started", flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)
"""


class Nursery:
    """Child processes without the seconds that each would need for its imports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, code: str, workspace: Workspace, folders: list[Path]) -> None:
        assert self._process.stdin is not None
        request = [(code, str(workspace.root), str(folder)) for folder in folders]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self.hear("started")

    def ended(self) -> list[int]:
        """The exit code of each child that was started; negative for the signal that killed it."""
        found: list[int] = json.loads(self.hear())
        return found

    def hear(self, expected: str | None = None) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the nursery has ended"
        assert expected in (None, line)
        return line

    def kill(self, code: str, workspace: Workspace, folder: Path) -> None:
        self.start(code, workspace, [folder])
        assert self.ended() == [-signal.SIGKILL], "it was not killed at that moment"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory, folder_writer: Callable[..., Path]) -> Iterator[Nursery]:
    root = tmp_path_factory.mktemp("nursery")
    folder = folder_writer(root / "datasets" / "warm" / ("0" * 16), "normalize", {}, 3, 100)
    command = [sys.executable, "-c", NURSERY, str(root), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        made = Nursery(process)
        made.hear("ready")
        yield made


MOMENTS = {
    "hashing": "die_at(sums, 'file_sha256', 5)",
    "list of sums half written": "die_at(Path, 'rename', only=lambda path, to: str(to).endswith('.sha256'))",
    "before add": "die_at(dvc_store.DvcStore, 'add')",
    "in add, some objects taken in": "die_at(LocalHashFileDB, 'protect', 4)",
    ".dvc file half written": "die_at(SingleStageFile, 'dump',"
    " first=lambda file, *rest: Path(file.path).write_text('outs:\\n- md5: \"12'))",
    "before push": "die_at(dvc_store.DvcStore, 'push')",
    "in push, some objects there": "die_at(LocalFileSystem, 'put_file', 20)",
    "before the registry": "die_at(registering, 'write_registry')",
    "registry half written": "die_at(Path, 'rename', only=lambda path, to: str(to).endswith('data_registry.yaml'))",
    "after the registry": "die_at(dvc_store.DvcStore, 'drop_cache')",
}
REGISTER = "\nregister(root, folder)"
RESTORE = "\nrestore(root, folder)"


def sound(name: str, workspace: Workspace) -> bool:
    return check_registration(name, None, workspace, CheckPlace.BOTH).sound


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_registration_killed_at_any_moment_loses_nothing_and_the_next_one_succeeds(
    moment: str, make_dataset: Make, workspace: Workspace, nursery: Nursery
) -> None:
    first, second = make_dataset("first"), make_dataset("second")
    entry = register(first, None, "first", workspace, SETTINGS)
    nursery.kill(MOMENTS[moment] + REGISTER, workspace, second)

    assert read_registry(workspace)["first"] == [entry]
    assert sound("first", workspace)
    third = make_dataset("third")
    register(third, None, "third", workspace, SETTINGS)
    again = register(second, None, "second", workspace, SETTINGS)
    assert again.reused is (moment == "after the registry")

    assert all(sound(name, workspace) for name in ("first", "second", "third"))
    assert sorted(read_registry(workspace)) == ["first", "second", "third"]
    assert sorted(p.parent.name for p in workspace.root.glob("datasets/*/*.dvc")) == ["first", "second", "third"]
    assert [p for p in workspace.root.rglob("*.partial*") if ".dvc/" not in str(p)] == []
    assert not (workspace.root / ".dvc" / "cache").exists()


def test_what_a_dead_dvc_left_in_its_list_of_writers_blocks_nobody_even_if_its_number_lives_again(
    make_dataset: Make, workspace: Workspace, nursery: Nursery
) -> None:
    dataset = make_dataset()
    nursery.kill(MOMENTS["in add, some objects taken in"] + REGISTER, workspace, dataset)
    writers = workspace.root / ".dvc" / "tmp" / "rwlock"
    left = json.loads(writers.read_text())
    assert left["write"], "DVC no longer leaves its number there; this test has lost its ground"
    for entry in left["write"].values():
        entry["pid"] = os.getpid()  # a number that another living process has now
    writers.write_text(json.dumps(left))
    assert not register(dataset, None, "tiny", workspace, SETTINGS).reused
    writers.write_text('{"write": {"half')
    register(make_dataset(key="9" * 16), None, "tiny", workspace, SETTINGS)


@pytest.mark.parametrize(
    "moment",
    [
        "die_at(restoring, 'sync_folder')",
        "die_at(restoring, '_date_back')",
        "die_at(Path, 'rename', only=lambda path, to: '.restored-' in path.name)",
    ],
    ids=["renamed", "fetched", "between the renames"],
)
def test_a_restore_killed_at_any_moment_leaves_the_folder_whole_or_absent(
    moment: str, make_dataset: Make, workspace: Workspace, nursery: Nursery
) -> None:
    dataset = make_dataset("first")
    register(dataset, None, "first", workspace, SETTINGS)
    (dataset / "images" / "im000.png").write_bytes(b"damaged")
    nursery.kill(moment + RESTORE, workspace, dataset)
    restore_registration("first", None, workspace, replace_damaged=True)
    assert sound("first", workspace)
    assert [p.name for p in dataset.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("moment", ["die_at(restoring, '_date_back')", "die_at(restoring, 'sync_folder')"])
def test_a_missing_folder_whose_restore_was_killed_comes_back(
    moment: str, make_dataset: Make, workspace: Workspace, nursery: Nursery
) -> None:
    dataset = make_dataset("first")
    register(dataset, None, "first", workspace, SETTINGS)
    shutil.rmtree(dataset)
    nursery.kill(moment + RESTORE, workspace, dataset)
    assert dataset.exists() is ("sync_folder" in moment)
    restore_registration("first", None, workspace)
    assert sound("first", workspace)


def test_processes_that_register_at_once_all_succeed(
    make_dataset: Make, workspace: Workspace, nursery: Nursery
) -> None:
    one, other, third = make_dataset("one"), make_dataset("one", key="9" * 16), make_dataset("two")
    with exclusive(workspace.locks / "register.lock"):
        nursery.start(REGISTER, workspace, [one, one, other, third])
    assert nursery.ended() == [0, 0, 0, 0]
    registry = read_registry(workspace)
    assert sorted(entry.version for entry in registry["one"]) == sorted([one.name, other.name])
    assert [entry.version for entry in registry["two"]] == [third.name]
    for name, dataset in (("one", one), ("one", other), ("two", third)):
        assert check_registration(name, dataset.name, workspace, CheckPlace.BOTH).sound
