"""What a flow's process imports before its first step."""

from __future__ import annotations

import subprocess
import sys

LIGHT = ("train", "resume", "evaluate", "housekeeping", "datasets", "dataset_info", "queues", "hooks")
HEAVY = ("torch", "pandas", "matplotlib", "great_expectations", "dvc", "sklearn", "scipy", "lightning", "wandb")


def test_flows_that_do_not_compute_themselves_import_no_torch_and_no_tables() -> None:
    imports = "; ".join(f"import flows.{name}" for name in LIGHT)
    script = f"import sys; {imports}; print(*sorted({set(HEAVY)!r} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == []
