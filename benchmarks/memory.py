"""The peak memory of a piece of work, in a process of its own: nothing that was there before counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def peak_memory_mb(module: str, *arguments: str) -> float:
    """Runs `python -m module arguments`, whose `__main__` ends with `report_peak()`; its largest resident set in MB."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def report_peak() -> None:
    """Prints this process's largest resident set in MB.

    Linux's `VmHWM` begins anew with the program; `getrusage` would still know the parent that this one was forked from.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    print(peak_kb / 1024)
