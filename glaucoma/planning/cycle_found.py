"""Which cycle a start with certain settings worked on, and what the next one would try: from ledger and plans alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from glaucoma.planning.cycle import PLAN_NAME, CyclePlan, make_plan, plan_to_take_up, read_plan
from glaucoma.planning.settings import PlanSettings, Rules
from glaucoma.records.ledger import Ledger, LedgerCycle, config_sha256
from glaucoma.training.settings import TrainSettings
from glaucoma.workspace import Workspace


def cycle_since(
    ledger: Ledger, workspace: Workspace, name: str, config: Mapping[str, Any], since: datetime
) -> LedgerCycle | None:
    """The newest cycle on dataset `name` with these settings that runs, or ended after `since`; None where none does.

    Args:
        config: As for `open_cycle`, on whatever prepared dataset.
    """
    for cycle in reversed(ledger.cycles()):
        path = workspace.cycles / cycle.cycle_id / PLAN_NAME
        if not cycle.cycle_id.startswith(f"{name}-") or (cycle.ended_at is not None and cycle.ended_at < since):
            continue
        if path.is_file():
            plan = read_plan(path)
            if cycle.config_sha256 == config_sha256({**config, "prepared_key": plan.prepared_key}):
                return cycle
    return None


def experiments_of_cycle(cycle_id: str, workspace: Workspace) -> list[str]:
    """The experiments of a cycle's plan; none where it has no plan."""
    path = workspace.cycles / cycle_id / PLAN_NAME
    return [proposal.experiment_id for proposal in read_plan(path).proposals] if path.is_file() else []


@dataclass(frozen=True)
class Preview:
    """What the next cycle would try."""

    plan: CyclePlan
    taken_up: bool
    """It is the plan of a cycle that was cut off; else its id is not given yet."""


def preview(
    workspace: Workspace,
    name: str,
    prepared: Path,
    config: Mapping[str, Any],
    plan: PlanSettings,
    train: TrainSettings,
    rules: Rules,
) -> Preview:
    """The plan that a cycle with these settings would follow now. Nothing is written, a ledger neither."""
    with _ledger_as_it_is(workspace) as ledger:
        if (planned := plan_to_take_up(ledger, workspace, config, prepared)) is not None:
            return Preview(planned, taken_up=True)
        return Preview(make_plan(ledger, workspace, "next", name, prepared, plan, train, rules), taken_up=False)


@contextlib.contextmanager
def _ledger_as_it_is(workspace: Workspace) -> Iterator[Ledger]:
    """The workspace's ledger; where there is none yet, an empty one elsewhere that is thrown away."""
    file = Path(workspace.ledger_url.removeprefix("sqlite:///"))
    if not workspace.ledger_url.startswith("sqlite:///") or file.is_file():
        yield Ledger(workspace.ledger_url)
        return
    with tempfile.TemporaryDirectory(prefix="arc-preview-") as folder:
        yield Ledger(f"sqlite:///{folder}/ledger.db")
