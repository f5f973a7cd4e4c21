"""The kernel's own count of processes that it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

from glaucoma.training.host_memory import grown, oom_kills

EVENTS = "low 0\nhigh 0\nmax 12\noom 4\noom_kill {}\noom_group_kill 0\n"
VMSTAT = "nr_free_pages 100\noom_kill {}\nnuma_hit 3\n"


def test_the_counters_of_the_group_and_of_the_machine_are_read(tmp_path: Path) -> None:
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    group.write_text(EVENTS.format(3))
    machine.write_text(VMSTAT.format(9))
    before = oom_kills((group, machine, tmp_path / "missing"))
    assert before == {str(group): 3, str(machine): 9}
    machine.write_text(VMSTAT.format(10))
    group.write_text(EVENTS.format(5))
    assert grown(before, oom_kills((group, machine))) == 2
    assert grown(before, before) == 0


def test_a_counter_that_only_appears_later_says_nothing() -> None:
    assert grown({}, {"memory.events": 7}) == 0
    assert grown({"memory.events": 7}, {}) == 0


def test_this_machine_can_be_asked() -> None:
    assert all(count >= 0 for count in oom_kills().values())
