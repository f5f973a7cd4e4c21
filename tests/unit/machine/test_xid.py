"""The driver's lines in the kernel's log: two real forms, with made-up times and places."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from glaucoma.machine.xid import parse_journal, parse_kmsg, parse_xid, read_xids

AT = datetime(2026, 1, 2, tzinfo=UTC)
FALLEN = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."


def test_an_xid_is_told_with_place_code_and_text():
    xid = parse_xid(FALLEN, AT)
    assert xid is not None
    assert (xid.pci, xid.code, xid.text) == ("0000:3b:00", 79, "pid=1234, name=python, GPU has fallen off the bus.")
    long = parse_xid("NVRM: Xid (PCI:00000000:AF:00): 13", AT)
    assert long is not None
    assert (long.pci, long.code, long.text) == ("0000:af:00", 13, "")
    assert parse_xid("NVRM: loading NVIDIA UNIX x86_64 Kernel Module", AT) is None


def test_records_of_the_kernel_count_from_the_boot():
    records = ["6,1,500000,-;usb 1-1: new device", f"3,2,2500000,-;{FALLEN}\n", "damaged", "3,x,y,-;NVRM"]
    (xid,) = parse_kmsg(records, booted_s=1000.0)
    assert xid.at == datetime.fromtimestamp(1002.5, UTC)


def test_lines_of_the_journal_that_are_none_are_left_out():
    entry = {"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": FALLEN}
    lines = ["", "{", json.dumps({"MESSAGE": FALLEN}), json.dumps(entry), json.dumps({**entry, "MESSAGE": [1, 2]})]
    assert [xid.at.timestamp() for xid in parse_journal(lines)] == [1_700_000_000.0]


def test_where_no_log_can_be_read_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    log = read_xids(AT, tmp_path / "kmsg")
    assert log.source == ""
    assert log.xids == ()
    assert [problem.split(":")[0] for problem in log.problems] == [str(tmp_path / "kmsg"), "journalctl"]
