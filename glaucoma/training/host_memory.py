"""Whether the kernel killed processes because the machine's memory, or that of its group, was full."""

from __future__ import annotations

import re
from pathlib import Path

COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory.events.local"),
    Path("/proc/vmstat"),
)
"""Of this container's group where it has one of its own, and of the whole machine."""
_LINE = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(counters: tuple[Path, ...] = COUNTERS) -> dict[str, int]:
    """By counter: processes killed for want of memory so far. Counters that this system has not are left out."""
    found = {}
    for path in (*counters, *_own_group()) if counters is COUNTERS else counters:
        try:
            match = _LINE.search(path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
        if match:
            found[str(path)] = int(match[1])
    return found


def _own_group() -> list[Path]:
    """The counters of the control group that this process is in, version 2, or 1 with its memory controller."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            found.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
        elif "memory" in controllers.split(","):
            found.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    return found


def grown(before: dict[str, int], after: dict[str, int]) -> int:
    """How many more were killed: the most that any counter grew by; 0 where there is none."""
    return max((count - before.get(name, count) for name, count in after.items()), default=0)
