"""A trained segmentation model as the one that marks the disc for preprocessing."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from glaucoma.datasets.field_of_view import NoFieldError
from glaucoma.errors import IntegrityError, SettingsError, problems
from glaucoma.preprocessing.chain import prepared_picture
from glaucoma.preprocessing.geometry import to_original
from glaucoma.preprocessing.preprocess import RECORD_NAME
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.provenance import code_sha256, digest, read_record
from glaucoma.schema import Task
from glaucoma.training.data import model_input, prepared_folder
from glaucoma.training.experiment import Experiment, Status, open_experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]

_THRESHOLD = 0.5


class SegmentedDisc:
    """Marks the disc in photographs with the best model of one experiment (a `preprocessing.disc.DiscModel`).

    Each photograph goes through the same steps as those that the model was trained on, and what the model marks is
    drawn back on the photograph. Several threads may call it: the network runs in one of them at a time.

    Raises:
        SettingsError: The experiment segments nothing, is not complete, or works on pictures cut around a disc, which
            it cannot be the one to find.
        NotFoundError: No such experiment, or its prepared dataset, whose steps are needed, is gone.
        IntegrityError: The prepared dataset's record cannot be read with this version's settings.
    """

    def __init__(self, experiment: Experiment, workspace: Workspace, device: str = "cpu") -> None:
        self._experiment = experiment
        self._device = device
        self._lock = threading.Lock()
        checkpoint = experiment.metadata.checkpoint
        if experiment.spec.task is not Task.SEGMENTATION or experiment.status is not Status.COMPLETED or not checkpoint:
            raise SettingsError(
                f"The experiment {experiment.experiment_id} is a {experiment.spec.task} experiment, "
                f"{experiment.status}",
                expected="a completed segmentation experiment, to find the disc by",
            )
        self._steps = _steps_of(experiment, workspace)
        self._identity = (experiment.experiment_id, checkpoint.sha256)

    @property
    def key(self) -> str:
        """Changes with the weights, and with the code and the steps from a photograph to its disc."""
        return digest([*self._identity, self._steps.model_dump(mode="json"), code_sha256(__name__)])

    def __call__(self, photograph: Pixels) -> Pixels:
        """1 on the disc, cup included, 0 elsewhere, (H, W) uint8, for an RGB photograph (H, W, 3)."""
        import torch
        from torch.nn.functional import interpolate

        shape = photograph.shape[:2]
        try:
            picture, geometry = prepared_picture(photograph, self._steps)
        except NoFieldError:
            return np.zeros(shape, np.uint8)
        with self._lock, torch.inference_mode():
            model, spec = self._model
            logits = model(model_input(picture[None], spec).to(self._device)).float()
            full = interpolate(logits, size=picture.shape[:2], mode="bilinear", align_corners=False)
            probability = torch.sigmoid(full)[0].cpu().numpy()
        disc = (probability.max(axis=0) >= _THRESHOLD).astype(np.uint8)
        return to_original(disc, geometry, (shape[0], shape[1]), nearest=True)

    @cached_property
    def _model(self) -> tuple[torch.nn.Module, ExperimentSpec]:
        """Loaded, and its hash checked, when the first photograph comes; called under the lock alone."""
        from glaucoma.training.predict import load_model

        return load_model(self._experiment, self._device)


def disc_model(settings: PreprocessSettings, workspace: Workspace) -> SegmentedDisc | None:
    """The model of the experiment that a `disc_crop` step of `settings` names; None where none is named."""
    step = settings.disc_crop
    if step is None or step.experiment is None:
        return None
    return SegmentedDisc(open_experiment(step.experiment, workspace), workspace)


def _steps_of(experiment: Experiment, workspace: Workspace) -> PreprocessSettings:
    """The settings that made the pictures which the model was trained on."""
    path = prepared_folder(experiment.spec, workspace) / RECORD_NAME
    recorded: dict[str, Any] = read_record(path).settings
    try:
        settings = PreprocessSettings.model_validate(recorded)
    except ValidationError as error:
        raise IntegrityError(
            f"The settings in {path} are none that this version knows ({problems(error)})",
            remedy="preprocess the dataset again and train the segmentation model on it",
        ) from error
    if settings.disc_crop is not None:
        raise SettingsError(
            f"The model of {experiment.experiment_id} was trained on pictures that are cut around the disc",
            expected="a segmentation model that was trained on whole photographs",
            consequence="It cannot be the one to find the disc",
        )
    return settings
