"""What the place of a training can do to it: a full disk, a folder nobody may write, a clock that jumps, a rival."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.campaign import judged
from tests.chaos.running import Attempt, until
from tests.chaos.subjects import Subject
from tests.unit.training.conftest import make_prepared

_YEAR_S = 365 * 24 * 3600


def full_disk(subject: Subject, expected: str, root: Path) -> list[str]:
    """The disk is full in the middle of a training; after room is made the training goes on and ends the same."""
    with _small_disk(root, megabytes=12):
        workspace = root / "workspace"
        make_prepared(workspace)
        attempt = Attempt(subject, workspace)
        until(attempt.trains, 300, "progress")
        filler = root / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as handle:  # until nothing more fits: that is the attack
            while True:
                handle.write(b"\0" * 4096)
        said = attempt.ended(300)
        filler.unlink()
        if said["outcome"] not in ("DiskSpaceError", "completed"):
            return [f"on a full disk it ended with {said}"]
        again = Attempt(subject, workspace).ended(300)
        return (
            judged(subject, workspace, expected) if again["outcome"] == "completed" else [f"with room again: {again}"]
        )


def read_only(subject: Subject, expected: str, root: Path) -> list[str]:
    """The workspace cannot be written; the error says so, and when it can again the training ends the same."""
    with _small_disk(root, megabytes=64):
        workspace = root / "workspace"
        make_prepared(workspace)
        attempt = Attempt(subject, workspace)
        until(attempt.trains, 300, "progress")
        attempt.process.kill()
        attempt.process.wait()
        until(lambda: not attempt.children(), 30, "the end of the training processes")
        _mount("-o", "remount,ro", str(root))
        said = Attempt(subject, workspace).ended(300)
        _mount("-o", "remount,rw", str(root))
        if said["outcome"] == "completed" or "ead-only" not in said["message"]:
            return [f"in a folder that cannot be written it ended with {said}"]
        again = Attempt(subject, workspace).ended(300)
        return judged(subject, workspace, expected) if again["outcome"] == "completed" else [f"writable again: {again}"]


def clock_change(subject: Subject, expected: str, root: Path) -> list[str]:
    """The clock jumps by a year, back and forth, while it trains; nothing ends, stalls or changes by it."""
    compiler = shutil.which("cc")
    if compiler is None:
        return ["no C compiler on this machine (Debian's package gcc): the clock was not changed"]
    make_prepared(root)
    library, hand = root / "clock.so", root / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    hand.write_bytes(_moved(0))
    attempt = Attempt(subject, root, {"LD_PRELOAD": str(library), "ARC_CLOCK": str(hand)})
    until(attempt.trains, 300, "progress")
    for jump_s in (_YEAR_S, -_YEAR_S, 0):
        seen = attempt.progress_size()
        with hand.open("r+b") as file:  # the processes see these very bytes
            file.write(_moved(jump_s))
        until(lambda seen=seen: attempt.process.poll() is not None or attempt.progress_size() > seen, 60, "progress")
    said = attempt.ended(300)
    return judged(subject, root, expected) if said["outcome"] == "completed" else [f"the clock changed: {said}"]


def two_at_once(subject: Subject, expected: str, root: Path) -> list[str]:
    """Two processes want the same experiment at once: one trains, the other waits, nothing is done twice."""
    make_prepared(root)
    rivals = [Attempt(subject, root), Attempt(subject, root)]
    said = [rival.ended(600) for rival in rivals]
    wrong = [f"one of two ended with {one}" for one in said if one["outcome"] != "completed"]
    text = (rivals[0].folder / "logs" / "progress.jsonl").read_text()
    if text.count('"event": "begin"') != subject.execution.devices and text.count('"event": "begin"') != 1:
        wrong.append("it was begun more than once")
    return wrong + judged(subject, root, expected)


def _moved(seconds: int) -> bytes:
    """As `clock.c` reads it."""
    return struct.pack("q", seconds)


PLACES = [full_disk, read_only, clock_change, two_at_once]


@contextlib.contextmanager
def _small_disk(root: Path, megabytes: int) -> Iterator[None]:
    root.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(root))
    try:
        yield
    finally:
        _when_free("umount", str(root))
        shutil.rmtree(root)


def _mount(*words: str) -> None:
    ended = _when_free("mount", *words)
    if ended.returncode:
        raise PermissionError(f"a small disk cannot be made here, which needs root: {ended.stderr.strip()}")


def _when_free(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs it once nothing holds the disk: a process that is ending shows no command before it lets its files go."""
    ended: list[subprocess.CompletedProcess[str]] = []

    def free() -> bool:
        ended[:] = [subprocess.run(command, capture_output=True, text=True, check=False)]
        return "busy" not in ended[0].stderr

    until(free, 60, " ".join(command))
    return ended[0]
