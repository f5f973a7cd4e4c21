"""The bootstrap interval of an AUC by patients, against a loop over scikit-learn's function."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.evaluation.intervals import bootstrap_interval
from glaucoma.evaluation.statistics import weighted_auc

_PATIENTS, _REPLICATES = 200, 1000


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """Ours is BCa, which leaves each patient out once besides; the loop takes plain percentiles."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(place.seed)
    patients = np.repeat(np.arange(_PATIENTS), 2)
    labels = np.repeat(rng.random(_PATIENTS) < 0.4, 2)
    scores = rng.normal(labels.astype(float), 1.0)

    def ours() -> tuple[float, float]:
        found = bootstrap_interval(weighted_auc(labels, scores), patients, replicates=_REPLICATES, seed=1)
        return found.low, found.high

    def loop() -> tuple[float, float]:
        draws = np.random.default_rng(1)
        values = []
        for _ in range(_REPLICATES):
            chosen = draws.integers(0, _PATIENTS, _PATIENTS)
            index = np.concatenate([2 * chosen, 2 * chosen + 1])
            values.append(roc_auc_score(labels[index], scores[index]))
        low, high = np.quantile(values, [0.025, 0.975])
        return float(low), float(high)

    np.testing.assert_allclose(ours(), loop(), atol=0.01)  # another method and other draws: near, not equal

    def run_ours() -> None:
        ours()

    def run_loop() -> None:
        loop()

    yield Comparison(
        "AUC interval",
        Candidate("own, BCa", run_ours),
        (Candidate("loop of scikit-learn, percentiles", run_loop),),
        f"{2 * _PATIENTS} images, {_REPLICATES} replicates",
        rounds=5,
    )
