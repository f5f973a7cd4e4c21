"""`python -m tests.chaos.parent`: what a flow's process does in a training; it ends with one JSON line."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from glaucoma.errors import ArcError, is_retryable
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.training.supervise import train
from glaucoma.workspace import Workspace


def main() -> int:
    """Trains; says `completed`, or which error it was and whether another attempt may survive it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--spec", required=True)
    parser.add_argument("--execution", required=True)
    given = parser.parse_args()
    outcome = {"outcome": "completed", "message": "", "retryable": False}
    try:
        train(
            ExperimentSpec.model_validate_json(given.spec),
            Workspace.at(given.workspace),
            ExecutionSettings.model_validate_json(given.execution),
        )
    except (ArcError, OSError, KeyboardInterrupt) as error:
        outcome = {"outcome": type(error).__name__, "message": str(error), "retryable": is_retryable(error)}
    os.write(1, (json.dumps(outcome) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
