"""When a run's checkpoints are written, and where its best model is until then.

Short epochs end more often than saving is worth. What is not written is learned again after a kill, and ends the same.
"""

from __future__ import annotations

import time
from typing import Any

from glaucoma.training.checkpoints import Checkpoints


class Saving:
    """The last state and the best model of one run: written together, so that each fits the other."""

    def __init__(self, checkpoints: Checkpoints, every_s: float) -> None:
        """Counts the time from now.

        Args:
            every_s: The longest time between two saves.
        """
        self._checkpoints, self._every_s = checkpoints, every_s
        self._saved_at = time.monotonic()
        self._best: dict[str, Any] | None = None

    @property
    def is_due(self) -> bool:
        """True where the last save is too long ago."""
        return time.monotonic() - self._saved_at >= self._every_s

    @property
    def is_due_at_end(self) -> bool:
        """The same at an epoch's end, where it is also True while saving stays a small share of the time."""
        return self.is_due or self._checkpoints.affordable()

    def keep_best(self, payload: dict[str, Any]) -> None:
        """Copies the best model into this machine's memory, where it lies until the next save."""
        model = {name: value.detach().to("cpu", copy=True) for name, value in payload["model"].items()}
        self._best = {**payload, "model": model}

    def write(self, payload: dict[str, Any]) -> None:
        """Writes a state, and before it the best model that is not written yet.

        In this order, since a state is believed beside a best model that is its own or of a later epoch.

        Raises:
            OSError: The disk does not take it.
        """
        if self._best is not None:
            self._checkpoints.save_best(self._best)
            self._best = None
        self._checkpoints.save_last(payload)
        self._saved_at = time.monotonic()
