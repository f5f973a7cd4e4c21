"""A process that holds made-up GPUs until its standard input ends; `test_gpu_locks.py` starts it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from glaucoma.training.gpu_locks import hold, join


def main(gpus: list[str], folder: Path, group: str, first: bool) -> None:
    said = ""

    def wait(what: str) -> None:
        nonlocal said
        if what != said:
            say(what)
            said = what
        time.sleep(0.02)  # between two looks

    with hold(gpus, folder, wait, group) if first else join(gpus[0], folder, wait, group):
        say("held")
        sys.stdin.read()
    say("let go")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "first")
