"""One of several processes that share trainings; `test_several_processes.py` starts it with torchrun's variables."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(jobs: list[dict[str, Any]], out: str) -> None:
    from glaucoma.errors import ArcError
    from glaucoma.training.experiment import open_experiment
    from glaucoma.training.loop import StoppedError, run_training
    from glaucoma.training.progress_log import ProgressWriter
    from glaucoma.training.settings import ExecutionSettings
    from glaucoma.workspace import Workspace

    rank = int(os.environ["RANK"])
    ends = []
    for job in jobs:
        os.environ["MASTER_PORT"] = str(job["port"])
        workspace = Workspace.at(Path(job["workspace"]))
        experiment = open_experiment(job["experiment"], workspace)
        path = experiment.progress_path if rank == 0 else Path(os.devnull)
        progress = ProgressWriter(path)
        calls = iter(range(1, 10**6))

        def should_stop(_: float, job: dict[str, Any] = job, calls: Any = calls) -> bool:
            return rank == job.get("stop_rank") and next(calls) == job["stop_call"]

        try:
            run_training(
                experiment, workspace, ExecutionSettings.model_validate(job["execution"]), progress, should_stop
            )
            ends.append("complete")
        except StoppedError:
            ends.append("stopped")
        except ArcError as error:
            ends.append(str(error))
        progress.close()
    Path(f"{out}.{rank}").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
