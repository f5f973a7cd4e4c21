"""Where a run stands, as its checkpoints keep it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from glaucoma.errors import IntegrityError


@dataclass
class State:
    """Where a run stands; with the learner's own state all that resuming needs."""

    epoch: int = 0
    """Epochs finished."""
    next_batch: int = 0
    loss_sums: list[float] = field(default_factory=list)
    """Of the images seen in this epoch, by rank."""
    images_seen: list[int] = field(default_factory=list)
    best_epoch: int = 0
    """The first is 1; 0: none yet."""
    best_rank: list[float] = field(default_factory=list)
    since_best: int = 0
    lowest_loss: float = math.inf
    """Lowest mean training loss of an epoch."""
    exploded: int = 0
    """Epochs in a row whose loss lay far above that."""
    ended_by: str = ""
    """epochs, patience or cannot_catch_up; empty while it goes on."""

    def spread(self, world: int) -> None:
        """Makes the sums those of `world` processes: a run may go on with another number of them than it began."""
        if len(self.loss_sums) != world:
            self.loss_sums = [sum(self.loss_sums), *[0.0] * (world - 1)]
            self.images_seen = [sum(self.images_seen), *[0] * (world - 1)]


def read_state(saved: dict[str, Any]) -> State:
    """The state that a checkpoint names; `IntegrityError` where it names no such."""
    names = State.__dataclass_fields__.keys()
    if saved.keys() != names:
        raise IntegrityError(f"its state has {', '.join(sorted(map(str, saved)))}", expected=", ".join(sorted(names)))
    return State(**saved)
