from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.tables import Base

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file; or the database that `ARC_TEST_LEDGER_URL` names, whose ledger is emptied before each test."""
    given = os.environ.get("ARC_TEST_LEDGER_URL")
    if not given:
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    Base.metadata.drop_all(Ledger(given)._engine)
    return given


@pytest.fixture
def ledger(url: str) -> Ledger:
    return Ledger(url)


@pytest.fixture
def experiment() -> Callable[..., LedgerExperiment]:
    def make(number: int = 1, **changes: Any) -> LedgerExperiment:
        values: dict[str, Any] = {
            "experiment_id": f"cls-lcnet_050-{number:08x}",
            "task": "classification",
            "dataset": "eyes",
            "prepared_key": "p" * 16,
            "spec": {"learning_rate": 1e-3, "seed": number},
            "model": "lcnet_050",
            "seed": number,
            "status": "proposed",
            "created_at": START + timedelta(minutes=number),
        }
        return LedgerExperiment.model_validate(values | changes)

    return make
