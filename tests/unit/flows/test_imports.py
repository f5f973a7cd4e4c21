"""What a flow's process imports before its first step."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = ("train", "resume", "evaluate", "housekeeping", "datasets", "dataset_info", "queues", "hooks")
HEAVY = ("torch", "pandas", "matplotlib", "great_expectations", "dvc", "sklearn", "scipy", "lightning", "wandb")
WAITING = ("research_cycle", "research", "planned_experiment", "schedule", "queue", "steer", "watch", "recover")


@pytest.mark.parametrize(("flows", "heavy"), [(LIGHT, HEAVY), (WAITING, ("torch", "matplotlib", "wandb"))])
def test_flows_that_do_not_compute_themselves_import_no_torch_and_the_light_ones_no_tables(
    flows: tuple[str, ...], heavy: tuple[str, ...]
) -> None:
    imports = "; ".join(f"import flows.{name}" for name in flows)
    script = f"import sys; {imports}; print(*sorted({set(heavy)!r} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == []
