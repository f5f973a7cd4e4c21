"""One pass over the validation images, shared by all processes: the loss, and the score that chooses the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from glaucoma.training.batching import Batch
from glaucoma.training.engine import Engine
from glaucoma.training.losses import Loss
from glaucoma.training.task_definition import Scores, TaskDefinition


def validate(
    model: nn.Module,
    batches: Iterator[Batch],
    definition: TaskDefinition,
    loss: Loss,
    engine: Engine,
    after_batch: Callable[[bool], bool],
) -> Scores:
    """`loss` and the task's scores of all validation images, each counted once; what is undefined is NaN.

    Always in 32 bits, as evaluation does it. All processes get the same scores.

    Args:
        batches: This process's share of the images.
        after_batch: Called after each batch with True, then with False until it gives False: whether any process has a
            batch left. May raise, to stop; all processes then do.
    """
    model.eval()
    losses: list[torch.Tensor] = []
    facts: list[torch.Tensor] = []
    indices: list[Any] = []
    with torch.inference_mode():
        for batch in batches:
            logits = model(*model_inputs(batch)).float()
            losses.append(loss(logits, batch.targets).double() * len(batch.indices))
            facts.append(definition.facts(logits, batch.targets))
            indices.append(batch.indices)
            after_batch(True)
        while after_batch(False):
            pass
        mine = (
            float(torch.stack(losses).sum()) if losses else 0.0,
            torch.cat(facts).cpu().numpy() if facts else None,
            np.concatenate(indices) if indices else np.empty(0, np.int64),
        )
    shares = engine.gathered(mine)
    joined = np.concatenate([one for _, one, _ in shares if one is not None])
    order = np.argsort(np.concatenate([one for _, _, one in shares]), kind="stable")
    return {"loss": sum(one for one, _, _ in shares) / len(joined), **definition.scores(joined[order])}


def model_inputs(batch: Batch) -> tuple[torch.Tensor, ...]:
    """What the network is called with: the images, and the clinical values where it takes them."""
    return (batch.inputs,) if batch.clinical is None else (batch.inputs, batch.clinical)
