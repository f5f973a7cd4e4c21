"""Copies an experiment's progress to a store while it grows; what the store does not take now, it is given later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from glaucoma.errors import problems
from glaucoma.training.tracking.points import Logged, Point, ProgressFile
from glaucoma.training.tracking.run import Store

_AT_ONCE = 50
_MOST_WAITING = 5_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


class Follower:
    """Gives a store each point once, in order. An error of the store is told once, and it is tried again later.

    The file of progress is the queue: little of it is held in memory, and nothing of it is lost.

    Args:
        make: Makes the store; called again after each error.
        tell: Told once that the store failed, and once that it goes on.
        clock: Seconds, growing.
    """

    def __init__(
        self,
        make: Callable[[], Store],
        source: ProgressFile,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._source, self._tell, self._clock = make, source, tell, clock
        self._store: Store | None = None
        self._logged = Logged()
        self._waiting: deque[Point] = deque()
        self._pause_s = _FIRST_PAUSE_S
        self._again_at: float | None = None

    def look(self) -> bool:
        """Copies what is new; False where that failed, or is left for a while because it failed before."""
        if self._again_at is not None and self._clock() < self._again_at:
            return False
        return self._guarded(self._copy)

    def finish(self) -> bool:
        """Copies the rest and ends the run; False where that failed."""
        return self._guarded(self._copy) and self._guarded(self._end)

    def _copy(self) -> None:
        store = self._opened()
        while self._read_ahead():
            some = list(islice(self._waiting, _AT_ONCE))
            store.log(some)
            for point in some:
                self._logged = self._logged.and_then(point)
                self._waiting.popleft()

    def _read_ahead(self) -> bool:
        """Fills the queue from the file; False where there is nothing to copy."""
        if not self._waiting:
            ahead = self._logged
            for point in self._source.points():
                if not ahead.knows(point):
                    ahead = ahead.and_then(point)
                    self._waiting.append(point)
                if len(self._waiting) >= _MOST_WAITING:
                    break
        return bool(self._waiting)

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._make()
            self._logged = self._store.open()
            self._source.rewind()
            self._waiting.clear()
        return self._store

    def _end(self) -> None:
        self._opened().end()

    def _guarded(self, call: Callable[[], None]) -> bool:
        """Runs `call`; whatever it raises is told, and the store is opened anew the next time."""
        try:
            call()
        except Exception as error:  # noqa: BLE001  a store may raise anything, and training must go on
            self._failed(error)
            return False
        if self._again_at is not None:
            self._tell("tracking goes on; nothing is missing")
            self._again_at, self._pause_s = None, _FIRST_PAUSE_S
        return True

    def _failed(self, error: Exception) -> None:
        if self._again_at is None:
            self._tell(f"tracking failed ({type(error).__name__}: {problems(error)}); training goes on, tried again")
        self._again_at = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        store, self._store = self._store, None
        if store is not None:
            store.close()
