"""When a GPU hangs, from rows of made-up test data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from glaucoma.machine.hangs import Work, hangs, judge_hangs, stalls
from glaucoma.machine.settings import WatchSettings
from glaucoma.machine.store import Row
from glaucoma.machine.xid import Xid

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
AFTER_S = 600.0
PCI = "0000:3b:00"


def rows(load, memory=None, *, minutes=10, errors=0.0, last=None):
    figures = {"load_percent": load, "memory_load_percent": memory, "errors": errors}
    found = [Row((NOW - timedelta(minutes=m)).timestamp(), 0.0, figures) for m in range(minutes, -1, -1)]
    return found if last is None else [*found[:-1], Row(found[-1].at_s, 0.0, {**figures, **last})]


def work(quiet_minutes):
    moved = None if quiet_minutes is None else NOW - timedelta(minutes=quiet_minutes)
    return Work(gpu=0, run_id="r", experiment="e", moved_at=moved)


def why(seen, quiet_minutes=20, xids=()):
    return hangs(work(quiet_minutes), seen, xids, PCI, NOW, AFTER_S)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (rows(0.0, 0.0), "does nothing"),
        (rows(100.0, 0.0), "moves no memory"),
        (rows(0.0, 0.0, last={"load_percent": 100.0}), "moves no memory"),
        (rows(None, None, errors=1.0), "errors"),
        (rows(0.0, 0.0)[::2], "does nothing"),
    ],
)
def test_a_gpu_that_stands_still_under_work_that_does_not_move_hangs(seen, said):
    assert said in why(seen)
    assert "no progress for 1200 s" in why(seen)


@pytest.mark.parametrize(
    "seen",
    [
        rows(100.0, 35.0),
        rows(40.0, 0.0),
        rows(0.0, 0.0, last={"load_percent": 3.0}),
        rows(100.0, None),
        rows(None, None),
        rows(0.0, 0.0, minutes=4),
        [row for row in rows(0.0, 0.0) if not 2 <= (NOW.timestamp() - row.at_s) / 60 <= 8],
        [row for row in rows(0.0, 0.0) if (NOW.timestamp() - row.at_s) / 60 >= 3],
        [],
        rows(None, None, errors=1.0, last={"errors": 0.0}),
    ],
    ids=[
        "computes",
        "a little",
        "moved once",
        "memory not known",
        "load not known",
        "too few readings",
        "a hole in the middle",
        "a hole at the end",
        "none",
        "over",
    ],
)
def test_a_gpu_that_moves_or_is_not_known_well_enough_does_not(seen):
    assert why(seen) == ""


def test_work_that_moves_or_cannot_be_judged_does_not_hang():
    still = rows(0.0, 0.0)
    assert why(still, quiet_minutes=9) == ""
    assert why(still, quiet_minutes=None) == ""


def test_an_xid_of_that_gpu_and_no_progress_is_enough():
    recent = Xid(at=NOW - timedelta(minutes=5), pci=PCI, code=31)
    assert "Xid 31" in why([], xids=[recent])
    assert why([], quiet_minutes=5, xids=[recent]) == ""
    assert why([], xids=[recent.model_copy(update={"pci": "0000:01:00"})]) == ""
    assert why([], xids=[recent.model_copy(update={"at": NOW - timedelta(hours=1)})]) == ""


def test_work_on_a_gpu_out_of_reach_stalls_only_where_it_does_not_move():
    assert stalls(work(20), NOW, AFTER_S) == "no progress for 1200 s, and the driver does not reach the GPU"
    assert stalls(work(9), NOW, AFTER_S) == ""
    assert stalls(work(None), NOW, AFTER_S) == ""


def test_a_hang_is_told_once_and_again_after_it_was_over():
    states, (change,) = judge_hangs({0: "why", 1: ""}, {})
    assert (change.event, change.gpu, change.drains) == ("arc.gpu.hung", 0, True)
    states, again = judge_hangs({0: "why"}, states)
    assert again == []
    states, _ = judge_hangs({}, states)  # nothing works on it any more
    assert len(judge_hangs({0: "why"}, states)[1]) == 1


def test_readings_that_are_kept_for_less_than_a_hang_takes_are_refused():
    assert WatchSettings.model_validate({"keep": {"full_hours": 0.25}, "hangs": {"hang_after_s": 900}})
    with pytest.raises(ValidationError, match=r"full_hours \(0.2\) is less than hangs.hang_after_s \(900 s\)"):
        WatchSettings.model_validate({"keep": {"full_hours": 0.2}, "hangs": {"hang_after_s": 900}})
