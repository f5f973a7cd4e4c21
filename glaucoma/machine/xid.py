"""Xids: what the NVIDIA driver writes into the kernel's log when something goes wrong on a GPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})[^)]*\): (\d+)(?:,\s*(.*))?")
_KMSG = Path("/dev/kmsg")
_RECORD_BYTES = 8192
_LONGEST_TEXT = 300
_PROGRAM_TIMEOUT_S = 10.0


class Xid(BaseModel):
    """One line of the driver in the kernel's log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    pci: str
    """0000:3b:00"""
    code: int
    text: str = ""


@dataclass(frozen=True)
class XidLog:
    """What the kernel's log says of the GPUs."""

    source: str
    """Where it was read: /dev/kmsg or journalctl; empty where it could not be read."""
    xids: tuple[Xid, ...] = ()
    problems: tuple[str, ...] = field(default=())
    """Why a source could not be read."""


def parse_xid(line: str, at: datetime) -> Xid | None:
    """The Xid in a line of the kernel's log; None where it is none."""
    found = _XID.search(line)
    if found is None:
        return None
    domain, rest = found[1].lower().split(":", 1)
    return Xid(at=at, pci=f"{domain[-4:]}:{rest}", code=int(found[2]), text=(found[3] or "").strip()[:_LONGEST_TEXT])


def read_xids(since: datetime, kmsg: Path = _KMSG) -> XidLog:
    """The Xids after `since`, from /dev/kmsg, else from journalctl; where neither can be read, why."""
    problems = []
    sources: dict[str, Callable[[], list[Xid]]] = {
        str(kmsg): partial(_from_kmsg, kmsg),
        "journalctl": partial(_from_journal, since),
    }
    for name, read in sources.items():
        try:
            found = tuple(xid for xid in read() if xid.at > since)
        except (OSError, subprocess.SubprocessError) as error:
            problems.append(f"{name}: {error}")
        else:
            return XidLog(name, found)
    return XidLog("", problems=tuple(problems))


def _from_kmsg(path: Path) -> list[Xid]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return list(parse_kmsg(_records(descriptor), psutil.boot_time()))
    finally:
        os.close(descriptor)


def _records(descriptor: int) -> Iterator[str]:
    while True:
        try:
            record = os.read(descriptor, _RECORD_BYTES)
        except BlockingIOError:
            return  # the end, for now
        except BrokenPipeError:
            continue  # overwritten while it was read: the next record is whole
        if not record:
            return
        yield record.decode(errors="replace")


def parse_kmsg(records: Iterable[str], booted_s: float) -> Iterator[Xid]:
    """The Xids among records as /dev/kmsg gives them: `level,number,microseconds since boot,flags;text`."""
    for record in records:
        head, _, text = record.partition(";")
        fields = head.split(",")
        if len(fields) < 3 or not fields[2].isdecimal():
            continue
        at = datetime.fromtimestamp(booted_s + int(fields[2]) / 1e6, UTC)
        if (xid := parse_xid(text, at)) is not None:
            yield xid


def _from_journal(since: datetime) -> list[Xid]:
    if (program := shutil.which("journalctl")) is None:
        raise FileNotFoundError("there is no journalctl here")
    ended = subprocess.run(
        [program, "--dmesg", "--output", "json", "--no-pager", "--quiet", "--since", f"@{int(since.timestamp())}"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROGRAM_TIMEOUT_S,
        check=True,
    )
    return list(parse_journal(ended.stdout.splitlines()))


def parse_journal(lines: Iterable[str]) -> Iterator[Xid]:
    """The Xids among lines as `journalctl --output json` gives them; what is no such line is left out."""
    for line in lines:
        try:
            entry = json.loads(line)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            text = str(entry["MESSAGE"])
        except (ValueError, KeyError, TypeError):
            continue
        if (xid := parse_xid(text, at)) is not None:
            yield xid
