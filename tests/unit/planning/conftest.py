from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.schema import Task
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from

KEY = "a" * 16
START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def base() -> ExperimentSpec:
    settings = TrainSettings.for_preset("smoke", learning_rate=3e-3, batch_size=16, input_px=96, epochs=12)
    return spec_from(settings, Task.CLASSIFICATION, "eyes", KEY)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def remember(ledger: Ledger) -> Callable[..., LedgerExperiment]:
    """Puts an experiment of a spec into the ledger as completed with the score, or as the changes say."""
    count = iter(range(10_000))

    def put(spec: ExperimentSpec, score: float | None, **changes: Any) -> LedgerExperiment:
        values: dict[str, Any] = {
            "experiment_id": experiment_id(spec),
            "task": spec.task,
            "dataset": spec.dataset,
            "prepared_key": spec.prepared_key,
            "spec": spec.model_dump(mode="json"),
            "model": spec.model,
            "seed": spec.seed,
            "status": "completed",
            "novelty": "explore",
            "primary_score": score,
            "created_at": START + timedelta(minutes=next(count)),
        }
        entry = LedgerExperiment.model_validate(values | changes)
        ledger.put(entry)
        return entry

    return put
