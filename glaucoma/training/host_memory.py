"""The memory of the machine and of its control groups: what is free, and whether the kernel killed for want of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory.events.local"),
    Path("/proc/vmstat"),
)
"""Of this container's group where it has one of its own, and of the whole machine."""
_CGROUPS = Path("/sys/fs/cgroup")
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


def free_memory_bytes() -> int:
    """Memory that this process may still take: of the machine, and of its control groups where they have a limit."""
    import psutil

    available = int(psutil.virtual_memory().available)
    return min([available, *group_free_bytes(Path("/proc/self/cgroup"), _CGROUPS)])


def group_free_bytes(membership: Path, groups: Path) -> Iterator[int]:
    """What each control group that this process is in, and each group around that one, has left of its limit.

    Args:
        membership: `/proc/self/cgroup`; lines `<number>:<controllers>:<path>`, version 2 with the number 0.
        groups: Where the control groups are mounted.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no control groups here
        return
    for line in lines:
        _, controllers, place = ([*line.split(":", 2), "", ""])[:3]
        if controllers == "":
            home, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            home = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = home / place.lstrip("/")
        while group.is_relative_to(home):
            with contextlib.suppress(OSError, ValueError):  # not mounted here, or without a limit ("max")
                limit, used = (int((group / name).read_text()) for name in names[:2])
                yield max(0, limit - used + _stat(group / "memory.stat", names[2]))
            group = group.parent


def _stat(path: Path, name: str) -> int:
    """Bytes of files kept in memory, which the kernel gives up before it refuses any."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
