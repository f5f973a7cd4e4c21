"""An outside program that reads an archive: on a leash, and never writing a file itself.

It gets the archive alone in a folder of its own, gives its result through a pipe, may write no byte to any file, has no
terminal to ask for a password, and bounds for memory, processor time and time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

_MEMORY_KB = 4 << 20
"""4 GiB of address space: 7-Zip's largest window is some gigabytes, its usual ones are far below."""
_OPEN_FILES = 64
_TOLD_BYTES = 64 * 1024


@contextlib.contextmanager
def alone(archive: Path, name: str) -> Iterator[Path]:
    """A path to `archive` under a plain `name` in an otherwise empty folder.

    A name cannot be taken for an option there, and no other part of an archive in several parts, which the caller's
    checksum would not cover, lies beside it.
    """
    with tempfile.TemporaryDirectory(prefix="arc-archive-") as folder:
        link = Path(folder) / name
        link.symlink_to(archive.resolve())
        yield link


class Child:
    """A running program.

    Attributes:
        output: What it writes, read while it runs.
    """

    def __init__(self, command: Sequence[str], folder: Path, seconds: float) -> None:
        self.timed_out = False
        seconds = max(1.0, seconds)
        processor_s = int(seconds * (os.cpu_count() or 1)) + 1
        bounds = {"f": 0, "c": 0, "n": _OPEN_FILES, "v": _MEMORY_KB, "t": processor_s}
        limits = " && ".join(f"ulimit -{letter} {most}" for letter, most in bounds.items())
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as told:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f'{limits} && exec "$@"', "sh", *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"},
            )
        self._told = bytearray()
        self._listener = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        self._listener.start()
        self._watch = threading.Timer(seconds, self._expire)
        self._watch.daemon = True
        self._watch.start()
        assert self._process.stdout is not None  # noqa: S101  # asked for above; said for the type checker
        self.output: IO[bytes] = self._process.stdout

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as handle:
            while piece := handle.read1():
                if len(self._told) < _TOLD_BYTES:
                    self._told += piece

    def _expire(self) -> None:
        self.timed_out = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> int:
        """Waits for its end, once its output was read; returns its exit code, negative for a signal."""
        code = self._process.wait()
        self._listener.join()
        return code

    @property
    def told(self) -> str:
        """What it said beside its output, as one line."""
        lines = [line.strip() for line in self._told.decode("utf-8", "replace").splitlines() if line.strip()]
        return " / ".join(lines)

    def close(self) -> None:
        """Ends it, wherever it is."""
        self._watch.cancel()
        if self._process.poll() is None:
            self._kill()
        self.output.close()
        self._process.wait()
        self._listener.join()


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, seconds: float) -> Iterator[Child]:
    """Starts `command` in `folder`; it is gone when the block ends, however that ends."""
    child = Child(command, folder, seconds)
    try:
        yield child
    finally:
        child.close()
