"""A child process of the benchmark of a training's start: the loop until its first step, each part timed.

`STARTED=<seconds since 1970> python -m benchmarks.training_start_probe '{"root": FOLDER, "spec": {...}}'`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

_marks: list[tuple[str, float]] = []


class _EnoughError(Exception):
    """The first step is done."""


def _mark(part: str) -> None:
    _marks.append((part, time.time()))


def main() -> None:
    """Ends with one line of JSON: seconds by part."""
    _mark("interpreter")
    import torch

    _mark("torch")
    from glaucoma.training.compiler import spare_compiler

    spare_compiler()
    from glaucoma.training.engine import Engine, find_place
    from glaucoma.training.experiment import create_experiment
    from glaucoma.training.loop import Trainer
    from glaucoma.training.progress_log import ProgressWriter
    from glaucoma.training.settings import Device, ExecutionSettings
    from glaucoma.training.spec import ExperimentSpec
    from glaucoma.workspace import Workspace

    _mark("the rest of the loop's imports")
    given = json.loads(sys.argv[1])
    workspace = Workspace.at(Path(given["root"]))
    experiment = create_experiment(ExperimentSpec.model_validate(given["spec"]), workspace)

    class Marked(Trainer):
        def _open_data(self, progress: ProgressWriter) -> None:
            super()._open_data(progress)
            _mark("data")
            import timm  # noqa: F401  the network's part is then its own

            _mark("timm")

    def stop_asked() -> bool:
        _mark("first step")
        raise _EnoughError

    torch.set_num_threads(1)
    chosen = ExecutionSettings(device=Device.CPU, threads=1)
    engine = Engine(torch.device("cpu"), find_place(chosen))
    trainer = Marked(experiment, workspace, chosen, engine, ProgressWriter(experiment.progress_path), stop_asked)
    _mark("network")
    with contextlib.suppress(_EnoughError):
        trainer.run()
    before = float(os.environ["STARTED"])
    seconds = {}
    for part, at in _marks:
        seconds[part], before = at - before, at
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
