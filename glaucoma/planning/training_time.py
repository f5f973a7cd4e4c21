"""What experiments took of GPUs and of the CPU, from their own records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from glaucoma.records.ended import run_of
from glaucoma.training.experiment import Experiment
from glaucoma.training.progress_log import read_progress
from glaucoma.workspace import Workspace


@dataclass(frozen=True)
class TrainingTime:
    """Hours of training. What a killed attempt took is known to nobody and not in here."""

    gpu_hours: float = 0.0
    """Hours times GPUs."""
    cpu_hours: float = 0.0


def training_time(experiments: Iterable[str], workspace: Workspace) -> TrainingTime:
    """All attempts of these experiments together; one whose folder is not there took nothing that could be known."""
    gpu_s = cpu_s = 0.0
    for name in sorted(set(experiments)):
        experiment = Experiment(workspace.experiments / name)
        if not experiment.metadata_path.is_file():
            continue
        metadata = experiment.metadata
        if on_gpu(experiment):
            gpu_s += metadata.duration_s * devices_of(experiment)
        else:
            cpu_s += metadata.duration_s
    return TrainingTime(gpu_s / 3600, cpu_s / 3600)


def on_gpu(experiment: Experiment) -> bool:
    """True where it trains on a GPU: by its record at the end, before that by its progress, which names GPU memory."""
    device = experiment.metadata.training.get("device")
    if device is not None:
        return str(device).startswith("cuda")
    return any(line.gpu_memory_mb is not None for line in read_progress(experiment.progress_path))


def devices_of(experiment: Experiment) -> int:
    """How many devices share its steps: by its record at the end, before that by how its last run was started."""
    said = experiment.metadata.training.get("devices")
    if isinstance(said, int) and said > 0:
        return said
    run = run_of(experiment)
    return run.execution.devices if run is not None else 1
