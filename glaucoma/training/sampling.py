"""Which images an epoch shows, in which order: a function of seed and epoch alone, so a resumed run sees the same."""

from __future__ import annotations

from typing import Any

import numpy as np

Indices = np.ndarray[Any, np.dtype[np.int64]]


def step_seed(seed: int, *place: int) -> int:
    """A seed in 0..2^63-1 for one place of a run (epoch, step, purpose); different places give unrelated ones."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(n: int, labels: Any | None, seed: int, epoch: int) -> Indices:
    """`n` indices in the order of epoch `epoch`.

    Without labels: every image once. With labels (n,) of 0 and 1: both classes equally often (to within one), the rarer
    one's images repeated, all as often as each other to within one; the commoner one's drawn without repetition.
    """
    rng = np.random.default_rng(step_seed(seed, epoch, 0))
    if labels is None:
        return rng.permutation(n).astype(np.int64)
    drawn = []
    for label, share in ((0, n - n // 2), (1, n // 2)):
        members = np.flatnonzero(np.asarray(labels) == label)
        rounds = -(-share // max(len(members), 1))
        drawn.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:share])
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def batches(order: Indices, batch_size: int, world: int = 1) -> list[Indices]:
    """`order` cut into the batches of an epoch, each to be shared by `world` processes.

    A last batch of less than 2 images a process is left out, since batch normalisation needs two: at most
    `2 * world - 1` images an epoch, other ones in each.
    """
    cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(cut) > 1 and len(cut[-1]) < 2 * world:
        cut.pop()
    return cut


def share(n: int, rank: int, world: int) -> slice:
    """The part of `n` images that process `rank` of `world` takes: contiguous, and all as large to within one image."""
    return slice(n * rank // world, n * (rank + 1) // world)
