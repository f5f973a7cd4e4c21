"""Watches what a Python process does to the world outside: its attempts to reach another machine, and its commands.

First on PYTHONPATH, so that every Python process that a test starts loads it: the server, trainings, trackers. It works
where `ARC_TEST_WATCHED` names a folder; there an attempt to leave is written down and refused, as without a network.
"""

# Every process pays for what is imported here: no pathlib.
# ruff: noqa: PTH118, PTH119, PTH123
from __future__ import annotations

import errno
import json
import os
import socket
import sys
import traceback

FOLDER = "ARC_TEST_WATCHED"
_LOCAL = {"", "localhost", "::1", "::", "0.0.0.0", socket.gethostname()}  # noqa: S104  compared only
_FETCHERS = {"curl", "wget", "ssh", "scp", "rsync", "nc", "ping"}
_GIT = {"clone", "fetch", "pull", "push", "ls-remote"}


def _is_outside(host: object) -> bool:
    text = host.decode(errors="replace") if isinstance(host, bytes) else host
    return isinstance(text, str) and text not in _LOCAL and not text.startswith(("127.", "::ffff:127."))


def _outside(event: str, args: tuple[object, ...]) -> str | None:
    """What an event tries to reach; None where it stays on this machine."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]  # a text is a socket's file; two numbers are the kernel's
        return str(address) if isinstance(address, tuple) and _is_outside(address[0]) else None
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return str(args[0]) if _is_outside(args[0]) else None
    if event == "subprocess.Popen":
        words = [os.fsdecode(one) for one in args[1]] if isinstance(args[1], list | tuple) else str(args[1]).split()  # type: ignore[arg-type]
        program = os.path.basename(words[0]) if words else ""
        leaves = program in _FETCHERS or (program == "git" and bool(_GIT & set(words[:4])))
        return " ".join(words) if leaves else None
    return None


def _write(name: str, what: dict[str, object]) -> None:
    path = os.path.join(os.environ[FOLDER], f"{name}-{os.getpid()}.jsonl")
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(what, default=str) + "\n")


def _watch(event: str, args: tuple[object, ...]) -> None:
    if not event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn")) or not os.environ.get(FOLDER):
        return
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        _write("commands", {"command": args[1]})
    target = _outside(event, args)
    if target is not None:
        stack = [f"{one.filename}:{one.lineno}" for one in traceback.extract_stack(limit=25)]
        _write("outward", {"event": event, "target": target, "process": sys.argv, "stack": stack})
        raise OSError(errno.ENETUNREACH, "no network in this test", target)


sys.addaudithook(_watch)
