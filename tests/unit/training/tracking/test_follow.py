"""Whatever a store does, each point reaches it once, in order, or people are told once."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import pytest

from glaucoma.training.progress_log import read_progress
from glaucoma.training.tracking import follow
from glaucoma.training.tracking.follow import Follower
from glaucoma.training.tracking.points import Logged, ProgressFile, point_of


@dataclass
class Memory:
    """What all the stores of one run keep, and the errors that they raise next, by call."""

    points: list = field(default_factory=list)
    logged: Logged = field(default_factory=Logged)
    errors: dict = field(default_factory=dict)
    opened: int = 0
    ended: int = 0
    closed: int = 0


class Store:
    def __init__(self, memory):
        self.memory = memory
        self._fail("make")

    def _fail(self, call):
        if self.memory.errors.get(call):
            raise self.memory.errors[call]

    def open(self):
        self._fail("open")
        self.memory.opened += 1
        return self.memory.logged

    def log(self, points):
        self._fail("log")
        for point in points:
            self.memory.points.append(point)
            self.memory.logged = self.memory.logged.and_then(point)

    def end(self):
        self._fail("end")
        self.memory.ended += 1

    def close(self):
        self.memory.closed += 1


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def told():
    return []


@pytest.fixture
def follower(memory, experiment, told, clock):
    return Follower(lambda: Store(memory), ProgressFile(experiment.progress_path), told.append, lambda: clock[0])


def expected(experiment):
    return [p for p in map(point_of, read_progress(experiment.progress_path)) if p is not None]


def test_all_points_in_order_as_they_come(follower, memory, experiment, write_progress):
    assert follower.look()
    for first in (1, 5, 9):
        write_progress(experiment, first, first + 3)
        assert follower.look()
    assert follower.finish()
    assert memory.points == expected(experiment)
    assert (memory.opened, memory.ended) == (1, 1)


def test_steps_that_a_resumed_training_takes_again_are_not_logged_twice(follower, memory, experiment, write_progress):
    write_progress(experiment, 1, 7)
    follower.look()
    write_progress(experiment, 3, 12)  # the checkpoint was behind step 2
    assert follower.finish()
    steps = [(p.step, p.validated) for p in memory.points]
    assert steps == sorted(set(steps))
    assert {step for step, _ in steps} == set(range(1, 13))
    assert sum(validated for _, validated in steps) == 3


def test_the_next_attempts_follower_goes_on_where_the_run_is(memory, experiment, told, write_progress):
    write_progress(experiment, 1, 6)
    Follower(lambda: Store(memory), ProgressFile(experiment.progress_path), told.append).look()
    write_progress(experiment, 5, 12)
    assert Follower(lambda: Store(memory), ProgressFile(experiment.progress_path), told.append).finish()
    steps = [(p.step, p.validated) for p in memory.points]
    assert steps == sorted(set(steps))
    assert len(steps) == 15


@pytest.mark.parametrize("call", ["make", "open", "log"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("odd"), ImportError("no wandb")]
)
def test_a_store_that_fails_is_told_once_tried_later_and_misses_nothing(
    follower, memory, experiment, write_progress, told, clock, call, error
):
    write_progress(experiment, 1, 6)
    memory.errors[call] = error
    assert not follower.look()
    assert not follower.look()  # left alone for a while
    clock[0] += 5
    assert not follower.look()
    assert len(told) == 1
    assert type(error).__name__ in told[0]
    memory.errors.clear()
    clock[0] += 10
    assert follower.look()
    assert told[1:] == ["tracking goes on; nothing is missing"]
    write_progress(experiment, 7, 12)
    assert follower.finish()
    assert memory.points == expected(experiment)


def test_the_pauses_grow_to_five_minutes(follower, memory, experiment, write_progress, clock):
    write_progress(experiment)
    memory.errors["open"] = OSError()
    follower.look()
    waits = []
    for _ in range(8):
        began, memory.closed = clock[0], 0
        while memory.closed == 0:
            clock[0] += 1
            follower.look()
        waits.append(clock[0] - began)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_an_end_that_fails_is_told_and_nothing_is_raised(follower, memory, experiment, write_progress, told):
    write_progress(experiment)
    memory.errors["end"] = RuntimeError("not today")
    assert not follower.finish()
    assert memory.points == expected(experiment)
    assert len(told) == 1


def test_the_end_tries_at_once_though_it_failed_just_now(follower, memory, experiment, write_progress):
    write_progress(experiment)
    memory.errors["log"] = OSError()
    assert not follower.look()
    memory.errors.clear()
    assert follower.finish()
    assert memory.points == expected(experiment)


def test_little_is_held_in_memory(follower, memory, experiment, write_progress, monkeypatch):
    monkeypatch.setattr(follow, "_MOST_WAITING", 4)
    monkeypatch.setattr(follow, "_AT_ONCE", 3)
    write_progress(experiment)
    assert follower.finish()
    assert memory.points == expected(experiment)
