"""How many photographs a step takes at once on one device, and how fewer are taken where the memory is too small."""

from __future__ import annotations

from glaucoma.errors import GpuMemoryError
from glaucoma.training.experiment import Experiment, Metadata
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec

FEWEST = 2
"""Normalisation over a batch needs two."""


def images_at_once(spec: ExperimentSpec, execution: ExecutionSettings) -> int:
    """Photographs that one device holds at once: the micro batch, at most its share of the step."""
    share = -(-spec.batch_size // execution.devices)
    return min(execution.micro_batch_size or share, share)


def remembered(execution: ExecutionSettings, experiment: Experiment) -> ExecutionSettings:
    """`execution` with what an earlier attempt found to fit, where that is less."""
    known = [n for n in (execution.micro_batch_size, experiment.metadata.micro_batch_size) if n is not None]
    return execution.model_copy(update={"micro_batch_size": min(known, default=None)})


def take_fewer(experiment: Experiment, execution: ExecutionSettings, error: GpuMemoryError) -> None:
    """Halves the photographs at once for the next start, in the metadata, a note and the progress.

    Args:
        error: What said that those of `execution` do not fit.

    Raises:
        GpuMemoryError: Two do not fit either. The next attempt then begins with what the settings say.
    """
    spec = experiment.spec
    now = images_at_once(spec, execution)
    if now <= FEWEST:
        _remember(experiment, None)
        raise GpuMemoryError(
            f"The memory does not hold even {now} images at once: {error.found}",
            expected=f"memory for {FEWEST} images of {spec.input_px} px in {spec.model}",
            consequence="The training stopped; its last checkpoint is kept, and another attempt would stop there too",
            remedy="lower the input's side or take a smaller network, or end what else uses the memory",
        ) from error
    fewer = max(now // 2, FEWEST)
    _remember(experiment, fewer)
    text = (
        f"{now} images at once do not fit the memory: from here {fewer} at once, added up to the same "
        f"{spec.batch_size} a step. Where the network normalises over a batch, its statistics are over fewer images"
    )
    experiment.note(f"{text} ({error.found})")
    progress = ProgressWriter(experiment.progress_path)
    progress.write(event="memory", message=text)
    progress.close()


def _remember(experiment: Experiment, images: int | None) -> None:
    def change(metadata: Metadata) -> None:
        metadata.micro_batch_size = images

    experiment.update(change)
