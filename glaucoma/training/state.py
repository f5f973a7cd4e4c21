"""Where a run stands, as its checkpoints keep it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from glaucoma.errors import IntegrityError
from glaucoma.training.divergence import EPOCHS
from glaucoma.training.spec import ExperimentSpec


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


def read_state(saved: dict[str, Any], spec: ExperimentSpec, batches: int) -> State:
    """The state that a checkpoint names.

    Args:
        batches: Of an epoch. One more may have been done: of fewer processes, a smaller last batch counts.

    Raises:
        IntegrityError: It names no such, or one that no run of `spec` comes to.
    """
    names = State.__dataclass_fields__.keys()
    if saved.keys() != names:
        raise IntegrityError(f"its state has {', '.join(sorted(map(str, saved)))}", expected=", ".join(sorted(names)))
    state = State(**saved)
    if wrong := _wrong(state, spec, batches):
        named = ", ".join(f"{name} {str(saved[name])[:60]}" for name in wrong)
        raise IntegrityError(f"its state has {named}, to which no run of this experiment comes")
    return state


def _wrong(state: State, spec: ExperimentSpec, batches: int) -> list[str]:
    """Names of what cannot be: of wrong kinds or bounds, else of what contradicts the rest."""
    most = {"epoch": spec.epochs, "next_batch": batches + 1, "best_epoch": state.epoch, "since_best": state.epoch,
            "exploded": EPOCHS - 1}  # fmt: skip
    for name, bound in most.items():  # the epoch first: it bounds others
        value = getattr(state, name)
        if type(value) is not int or not 0 <= value <= bound:
            return [name]
    kinds: dict[str, type] = {"loss_sums": float, "images_seen": int, "best_rank": float}
    wrong = [name for name, kind in kinds.items() if not _are_numbers(getattr(state, name), kind)]
    if wrong or type(state.lowest_loss) is not float or math.isnan(state.lowest_loss):
        return wrong or ["lowest_loss"]
    if len(state.loss_sums) != len(state.images_seen) or bool(sum(state.images_seen)) != bool(state.next_batch):
        wrong += ["loss_sums", "images_seen"]
    if len(state.best_rank) != (2 if state.best_epoch else 0):
        wrong.append("best_rank")
    ends = {
        "": state.epoch < spec.epochs,
        "epochs": state.epoch == spec.epochs,
        "patience": state.since_best >= spec.patience,
        "cannot_catch_up": spec.catch_up_margin is not None,
    }
    return wrong if type(state.ended_by) is str and ends.get(state.ended_by) else [*wrong, "ended_by"]


def _are_numbers(values: Any, kind: type) -> bool:
    return type(values) is list and all(type(one) is kind for one in values) and not any(map(math.isnan, values))
