"""A step of the training loop, with its progress lines and checks for a stop, against a plain torch loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  the name that everybody knows

from benchmarks.harness import Candidate, Comparison, Skipped
from benchmarks.place import Place
from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.models.classifiers import build_classifier
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.schema import Split, Task
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.training.data import IMAGENET_MEAN, IMAGENET_STD, Arrays, load_arrays, open_prepared
from glaucoma.training.experiment import create_experiment
from glaucoma.training.loop import Trainer
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import Device, ExecutionSettings, TrainSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace

_MODEL, _SIDE_PX, _BATCH, _EPOCHS = "lcnet_050", 96, 16, 3
_PATIENTS = 48
_seeds = itertools.count(1)


def benchmark(place: Place) -> Iterator[Comparison | Skipped]:
    """The time from the end of one step to the end of the next; validation and checkpoints lie between epochs."""
    workspace = Workspace.at(place.root / "training")
    spec = _spec(workspace, place)
    arrays = load_arrays(open_prepared(spec, workspace), spec, Split.TRAIN)
    plain = Candidate("plain torch loop, no augmentation", lambda: _plain(arrays, spec))
    n = f"{_MODEL}, {_BATCH} x {_SIDE_PX} px"
    for augment, name in ((0.0, "no augmentation"), (spec.augment, "with augmentation")):
        chosen = spec.model_copy(update={"augment": augment})
        yield Comparison(
            "training step",
            Candidate(f"own loop, {name}", lambda chosen=chosen: _own(chosen, workspace)),  # type: ignore[misc]
            (plain,),
            n,
            rounds=5,
        )


def _spec(workspace: Workspace, place: Place) -> ExperimentSpec:
    """Small photographs, many enough for several steps an epoch."""
    synthetic = SyntheticSettings(patients=_PATIENTS, photo_height_px=240, seed=place.seed)
    archive = generate_archive(place.root / "small.zip", synthetic, threads=2).path
    dataset = normalize(unpack(archive, workspace), "small", workspace)
    prepared = preprocess(dataset.folder, "small", workspace, PreprocessSettings(image_size_px=_SIDE_PX))
    settings = TrainSettings.for_preset("smoke")
    wanted = {"model": _MODEL, "input_px": _SIDE_PX, "batch_size": _BATCH, "epochs": _EPOCHS}
    return spec_from(settings, Task.CLASSIFICATION, "small", prepared.key, balanced_sampling=False, **wanted)


def _own(spec: ExperimentSpec, workspace: Workspace) -> list[float]:
    """Seconds of each step but each epoch's first, of a new experiment each time.

    The loop asks whether it should stop after each step and after each batch of the validation: a clock for free.
    """
    spec = spec.model_copy(update={"seed": next(_seeds)})
    execution = ExecutionSettings(device=Device.CPU, threads=torch.get_num_threads())
    experiment = create_experiment(spec, workspace)
    asked: list[tuple[int, float]] = []

    def stop_asked() -> bool:
        asked.append((trainer.state.next_batch, time.perf_counter()))
        return False

    progress = ProgressWriter(experiment.progress_path)
    trainer = Trainer(experiment, spec, workspace, execution, torch.device("cpu"), progress, stop_asked)
    trainer.run()
    progress.close()
    return [after[1] - before[1] for before, after in itertools.pairwise(asked) if after[0] == before[0] + 1]


def _plain(arrays: Arrays, spec: ExperimentSpec) -> Sequence[float]:
    """The same network, loss, optimizer and clipping, as one would write them; each epoch's first step left out."""
    torch.manual_seed(next(_seeds))
    model = build_classifier(_MODEL).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    assert arrays.labels is not None
    images, labels = torch.from_numpy(arrays.images), torch.from_numpy(arrays.labels).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    seconds: list[float] = []
    for _ in range(_EPOCHS):
        ends: list[float] = []
        for chosen in torch.split(torch.randperm(len(images)), _BATCH):
            inputs = (images[chosen].permute(0, 3, 1, 2).float() / 255 - mean) / std
            logits, targets = model(inputs)[:, 0], labels[chosen]
            entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            loss = ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            ends.append(time.perf_counter())
        seconds.extend(np.diff(ends).tolist())
    return seconds
