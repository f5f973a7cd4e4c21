"""What is told of a machine, from readings of made-up test data (conftest.py)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from glaucoma.machine.conditions import judge, out_of_reach
from glaucoma.machine.settings import ThresholdSettings
from glaucoma.machine.xid import Xid

LIMITS = ThresholdSettings()


def told(readings, xids=()):
    """The events of each reading, one after the other."""
    states, events = {}, []
    for reading in readings:
        states, changes = judge(reading, xids, states, LIMITS)
        events.append([change.event for change in changes])
    return events


@pytest.mark.parametrize(
    ("figures", "events"),
    [
        ([{"temperature_c": t} for t in (84, 85, 90, 79, 85, 78, 85)], {1: "arc.gpu.hot", 6: "arc.gpu.hot"}),
        (
            [{"memory_used_mb": m} for m in (9799, 9800, 9100, 9900, 9000, 9800)],
            {1: "arc.gpu.memory-full", 5: "arc.gpu.memory-full"},
        ),
        (
            [{"free_gb": g} for g in (21, 19.9, 39, 40, 41, 5)],
            {1: "arc.disk.low", 3: "arc.disk.enough", 5: "arc.disk.low"},
        ),
        ([{"left_mb": m} for m in (4100, 3900, 9900, 3000, 10_000, 3900)], {1: "arc.memory.low", 5: "arc.memory.low"}),
        (
            [{"error": e} for e in (None, "GPU is lost", "GPU is lost", None, "lost")],
            {1: "arc.gpu.error", 3: "arc.gpu.reached", 4: "arc.gpu.error"},
        ),
        (
            [{"ecc_uncorrected": n} for n in (0, 1, 1, 3, 0, 1)],
            {1: "arc.gpu.error", 3: "arc.gpu.error", 5: "arc.gpu.error"},
        ),
    ],
)
def test_a_change_is_told_once_until_it_is_over(made_up, figures, events):
    expected = [[events[n]] if n in events else [] for n in range(len(figures))]
    assert told([made_up(n, **one) for n, one in enumerate(figures)]) == expected


def test_what_is_not_known_changes_nothing(made_up):
    readings = [made_up(0, temperature_c=90), made_up(1, temperature_c=None), made_up(2, temperature_c=90)]
    assert told(readings) == [["arc.gpu.hot"], [], []]


def test_a_gpu_that_is_gone_is_told_and_drained(made_up):
    states, _ = judge(made_up(0), (), {}, LIMITS)
    without = made_up(1).model_copy(update={"gpus": (), "no_gpus": "no NVIDIA driver"})
    states, (change,) = judge(without, (), states, LIMITS)
    assert (change.event, change.gpu, change.drains) == ("arc.gpu.error", 0, True)
    assert not change.ends, "what computes on it may be well"
    assert judge(without, (), states, LIMITS)[1] == []
    states, (back,) = judge(made_up(2), (), states, LIMITS)
    assert (back.event, back.gpu, back.drains) == ("arc.gpu.reached", 0, False)
    assert """undrain/undrain --param config='{"gpu": 0}'""" in back.message
    assert judge(made_up(3), (), states, LIMITS)[1] == []


def test_only_what_tells_of_the_gpu_itself_ends_its_run_at_once(made_up):
    first = made_up()
    xid = Xid(at=first.at, pci="0000:3b:00", code=79)
    for reading, xids, ends in (
        (made_up(error="Unknown Error"), (), False),
        (made_up(ecc_uncorrected=2), (), True),
        (first, [xid], True),
    ):
        _, (change,) = judge(reading, xids, {}, LIMITS)
        assert (change.drains, change.ends) == (True, ends)


def test_a_fatal_xid_of_a_gpu_that_fell_off_its_bus_ends_its_run_at_once(made_up):
    states, _ = judge(made_up(0), (), {}, LIMITS)
    lost = made_up(1, error="GPU is lost", pci=None)
    xid = Xid(at=lost.at, pci="0000:3b:00", code=79, text="fallen off the bus")
    _, changes = judge(lost, [xid], states, LIMITS)
    assert [(change.gpu, change.ends) for change in changes] == [(0, False), (0, True)]


def test_a_gpu_is_out_of_reach_where_no_reading_reached_it(made_up):
    good, bad = made_up(0), made_up(1, error="GPU is lost")
    gone = made_up(2).model_copy(update={"gpus": (), "no_gpus": "no NVIDIA driver"})
    states, _ = judge(good, (), {}, LIMITS)
    assert out_of_reach([bad, gone], states) == [0]
    assert out_of_reach([bad, good, gone], states) == []
    assert out_of_reach([gone], {}) == [], "never seen"


def test_a_fatal_xid_is_told_once_also_when_the_clock_moved_a_little(made_up):
    reading = made_up(5)
    xid = Xid(at=reading.at, pci="0000:3b:00", code=79, text="fallen off the bus")
    harmless = xid.model_copy(update={"code": 13})
    elsewhere = xid.model_copy(update={"pci": "0000:5e:00"})
    states, changes = judge(reading, [xid, harmless, elsewhere], {}, LIMITS)
    assert [(change.gpu, change.drains, change.figures["xid"]) for change in changes] == [(0, True, 79)]
    later = xid.model_copy(update={"at": made_up(5.02).at})
    assert judge(reading, [later], states, LIMITS)[1] == []
    fresh = xid.model_copy(update={"at": made_up(7).at})
    assert len(judge(reading, [fresh], states, LIMITS)[1]) == 1


def test_changes_name_what_they_are_of(made_up):
    _, (hot,) = judge(made_up(temperature_c=99), (), {}, LIMITS)
    assert hot.resource("h") == "arc.gpu.h.0"
    assert hot.figures["temperature_c"] == 99
    _, (low,) = judge(made_up(free_gb=1), (), {}, LIMITS)
    assert low.resource("h") == "arc.host.h"
    assert low.figures["workspace_free_gb"] == 1


@pytest.mark.parametrize("wrong", [{"cool_c": 90}, {"disk_enough_gb": 1}, {"memory_free_percent": 99}])
def test_a_way_back_that_is_none_is_refused(wrong):
    with pytest.raises(ValidationError, match="is not below"):
        ThresholdSettings(**wrong)
