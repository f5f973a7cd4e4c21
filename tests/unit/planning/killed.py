"""Child processes that are killed just before their n-th change of the disk, without seconds of imports for each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NURSERY = """
import json, os, shutil, signal, sqlite3, sys, traceback, warnings
from datetime import UTC, datetime
from pathlib import Path
warnings.simplefilter("ignore")
from glaucoma.planning import archive, rollback, snapshot
from glaucoma.records.ledger import Ledger
from glaucoma.workspace import Workspace
import zstandard

AT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)

def die_at(number):
    count = [0]
    def wrap(owner, name):
        there = getattr(owner, name)
        def dying(*args, **kwargs):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return there(*args, **kwargs)
        setattr(owner, name, dying)
    for name in ("rename", "unlink", "mkdir", "symlink_to"):
        wrap(Path, name)
    wrap(shutil, "rmtree")
    def half(source, target):  # a kill in the middle of SQLite's own work
        count[0] += 1
        if count[0] == number:
            here = sqlite3.connect(target)
            dead = lambda *left: os.kill(os.getpid(), signal.SIGKILL)
            sqlite3.connect(source).backup(here, pages=1, progress=dead)
        return whole(source, target)
    whole, rollback.copy_database = rollback.copy_database, half

def child(code, root, number):
    try:
        workspace = Workspace.at(root)
        die_at(number)
        exec(code, globals() | {"workspace": workspace})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

print("ready", flush=True)
for line in sys.stdin:
    code, root, number = json.loads(line)
    pid = os.fork() or child(code, root, number)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Runs code in a child process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, code: str, root: Path, die_at: int) -> int:
        """Exit code; -9 where it was killed before its `die_at`-th change."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([code, str(root), die_at]) + "\n")
        self._process.stdin.flush()
        return int(self.heard())

    def heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the nursery has ended"
        return line


@contextmanager
def nursery_of(project: Path) -> Iterator[Nursery]:
    command = [sys.executable, "-c", _NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=project) as process:
        made = Nursery(process)
        assert made.heard() == "ready"
        yield made
