from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.remember import remember as remember_experiment
from glaucoma.schema import Task
from glaucoma.training.experiment import Experiment, Status, create_experiment
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from
from glaucoma.workspace import Workspace
from tests.unit.planning.killed import Nursery, nursery_of

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


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Child processes that are killed at a chosen change of the disk."""
    with nursery_of(Path(__file__).parents[3]) as made:
        yield made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path)


@pytest.fixture
def trained(workspace: Workspace) -> Callable[..., Experiment]:
    """An experiment's folder as a training leaves it; the workspace's ledger knows it."""

    def made(seed: int, status: Status = Status.COMPLETED, score: float | None = None) -> Experiment:
        settings = TrainSettings.for_preset("smoke", classifier="small_cnn", seed=seed)
        experiment = create_experiment(spec_from(settings, Task.CLASSIFICATION, "eyes", KEY), workspace)
        (experiment.results / "0123").mkdir(exist_ok=True)
        (experiment.results / "0123" / "predictions.csv").write_bytes(bytes(1000))
        if not (experiment.results / "val").exists():
            (experiment.results / "val").symlink_to("0123")
        experiment.set_status(status)
        if score is not None:
            experiment.set_metrics("val", {"auc": {"value": score}})
        remember_experiment(experiment, Ledger(workspace.ledger_url), at=START + timedelta(minutes=seed))
        return experiment

    return made
