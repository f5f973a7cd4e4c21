"""When a run has diverged: its loss is no number any more, or has stayed far above what it once reached."""

from __future__ import annotations

import math

from glaucoma.errors import TrainingError

EPOCHS = 3
TIMES = 10.0
FLOOR = 0.05


def exploded(loss: float, best: float) -> bool:
    """True where an epoch's mean training loss lies above 10 times the best one before it.

    More exactly, further above it than 9 times its size, which counts as 0.05 at least: a network that knows its images
    by heart may falter, and a loss below 0.45 has never exploded.

    Args:
        best: Lowest mean loss of an epoch so far; infinite: none yet.
    """
    if math.isinf(best):
        return False
    return loss > best + (TIMES - 1) * max(abs(best), FLOOR)


def epochs_exploded(loss: float, best: float, before: int) -> int:
    """How many epochs in a row have exploded by now, `before` of them before this one; the run ends at `EPOCHS`."""
    return before + 1 if exploded(loss, best) else 0


def diverged(experiment_id: str, what: str, epoch: int, learning_rate: float) -> TrainingError:
    """The error that tells it.

    Args:
        what: What the loss did, such as `is nan`.
        epoch: The first is 1.
    """
    return TrainingError(
        f"The loss of {experiment_id} {what} in epoch {epoch}: it diverged",
        expected=f"a finite loss, and not for {EPOCHS} epochs more than {TIMES:g} times its best",
        consequence="The training ended without a model",
        remedy=f"lower the learning rate, which is {learning_rate:g}, or set clip_norm",
    )
