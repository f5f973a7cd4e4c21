"""How long a training waits for its data: by the host's clock, or by the device's own where it is a GPU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class WaitClock:
    """Adds up the time in which there is nothing to compute on.

    On a GPU the host runs ahead, so its waiting says little. There an event lies in the device's queue before the next
    batch is waited for, and one behind the batch's arrival: what passes between the two is time in which the device had
    nothing to do. Events are read when they are past, and never waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited_s = 0.0
        self._since = time.perf_counter()
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what makes or fetches the next batch."""
        if self._device.type != "cuda":
            began = time.perf_counter()
            yield
            self._waited_s += time.perf_counter() - began
            return
        stream = torch.cuda.current_stream(self._device)
        before = stream.record_event(_event())
        yield
        self._pairs.append((before, stream.record_event(_event())))

    def share(self) -> float | None:
        """Of the time since the last call, the share waited, 0..1; None where no time has passed."""
        past = [pair for pair in self._pairs if pair[1].query()]  # type: ignore[no-untyped-call]
        self._pairs = self._pairs[len(past) :]  # a stream's events pass in their order
        waited_s = self._waited_s + sum(before.elapsed_time(after) for before, after in past) / 1000
        now = time.perf_counter()
        elapsed_s, self._since, self._waited_s = now - self._since, now, 0.0
        return min(waited_s / elapsed_s, 1.0) if elapsed_s > 0 else None


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
