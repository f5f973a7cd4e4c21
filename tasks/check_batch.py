"""Check a batch of experiments as a whole, before the first is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect.logging import get_run_logger

from tasks.stage import stage_task

if TYPE_CHECKING:
    from glaucoma.planning.settings import Rules
    from glaucoma.training.spec import ExperimentSpec


@stage_task(run_name="check batch", timeout_s=3600)
def check_batch(specs: Mapping[int, ExperimentSpec], refused: Mapping[int, str], rules: Rules | None) -> None:
    """Refuses the whole batch where one of its experiments cannot run, and names them all."""
    from glaucoma.planning.batch import require_runnable

    require_runnable(specs, refused, rules)
    get_run_logger().info("%d experiments can run", len(specs))
