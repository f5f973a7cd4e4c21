"""Asking a person at the terminal for a decision on a plan, where no server has pages to ask in."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TerminalAnswer:
    """What was answered."""

    approve: bool
    by: str
    drop: list[str]
    comment: str


def has_person() -> bool:
    """True where somebody can be asked: the input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask_in_terminal(text: str, experiments: Sequence[str], ask: Callable[[str], str] = input) -> TerminalAnswer:
    """Shows `text` and asks until each answer can be understood.

    Raises:
        EOFError: The terminal is gone.
    """
    with _in_foreground():
        sys.stderr.write(f"\n{text}\n\n")
        sys.stderr.flush()
        by = _until(ask, "Your name: ", lambda said: bool(said))
        approve = _until(ask, "Run it? [yes/no] ", lambda said: said.lower() in ("yes", "y", "no", "n")).lower()
        drop: list[str] = []
        if approve.startswith("y"):
            known = f"Leave out which, separated by spaces (none: just Enter): {', '.join(experiments)}\n> "
            drop = _until(ask, known, lambda said: set(said.split()) <= set(experiments)).split()
        return TerminalAnswer(approve.startswith("y"), by, drop, ask("Comment (or just Enter): ").strip())


def _until(ask: Callable[[str], str], question: str, understood: Callable[[str], bool]) -> str:
    while not understood(said := ask(question).strip()):
        sys.stderr.write("That was not understood.\n")
    return said


@contextlib.contextmanager
def _in_foreground() -> Iterator[None]:
    """Lets this process group read from the terminal meanwhile: a command may run in the background of its terminal."""
    try:
        terminal = sys.stdin.fileno()
        before = os.tcgetpgrp(terminal)
    except (OSError, ValueError):  # no terminal of ours, as in a test
        yield
        return
    if before == os.getpgrp():
        yield
        return
    old = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, before)
        signal.signal(signal.SIGTTOU, old)
