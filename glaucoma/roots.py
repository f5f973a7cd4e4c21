"""Where a run's parameters may point: anywhere for a person at a terminal, under allowed roots for a worker's run.

A person who starts a flow has that person's own rights. A worker's run is started by whoever may start runs, with the
worker's rights: so its parameters reach the workspace that the worker was given, and what its environment allows.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOTS = "ARC_ALLOWED_ROOTS"
"""Further folders, separated by colons. Read from the worker's environment, which no parameter changes."""
WORKSPACE = "ARC_WORKSPACE"
_RUN = "PREFECT__FLOW_RUN_ID"
"""Set in every process that a worker starts for a flow run or its hooks, and in no other."""


def is_workers_run() -> bool:
    """True in a process that a worker started for a flow run."""
    return bool(os.environ.get(_RUN))


def allowed_roots() -> tuple[Path, ...]:
    """The worker's workspace first, then those of `ARC_ALLOWED_ROOTS`; links resolved."""
    named = [os.environ.get(WORKSPACE) or "workspace", *os.environ.get(ROOTS, "").split(":")]
    return tuple(dict.fromkeys(Path(one).expanduser().resolve() for one in named if one))


def confined(path: Path) -> Path:
    """`path` with all links resolved, under an allowed root. Use what comes back: the name may lead elsewhere later.

    What is hidden below a root (a name that begins with a dot) is nobody's input: there lie keys and locks.

    Raises:
        ValueError: It leads elsewhere, into something hidden, or nowhere (a loop of links).
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is no path that can be followed ({error})") from error
    roots = allowed_roots()
    inside = [real.relative_to(root) for root in roots if real.is_relative_to(root)]
    if any(not any(part.startswith(".") for part in one.parts) for one in inside):
        return real
    leads = f"{path} leads to {real}, which" if real != path else str(path)
    found = "is hidden there" if inside else "is outside"
    raise ValueError(
        f"{leads} {found}. Expected: a path below {' or '.join(map(str, roots))}, the folders that this worker may "
        f"use. Remedy: put it there, or add its folder to {ROOTS} in the worker's environment, which takes folders "
        "separated by colons"
    )


def confined_address(address: str) -> str:
    """A remote's address that a worker's run may be given: `s3://`, or a folder under an allowed root, resolved.

    Raises:
        ValueError: It is neither.
    """
    if address.startswith("s3://"):
        return address
    if "://" in address:
        raise ValueError(
            f"a {address.partition('://')[0]}:// address. Expected: s3://bucket/prefix or a folder below "
            f"{' or '.join(map(str, allowed_roots()))}. Remedy: keep another address in a block of type dvc-remote"
        )
    return str(confined(Path(address))) if Path(address).is_absolute() else address
