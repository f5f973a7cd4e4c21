"""A real small U-Net, trained on generated photographs, that finds the disc in others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.imagefile import read_mask_file, read_photograph
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.errors import NotFoundError, SettingsError
from glaucoma.preprocessing.disc import disc_box
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import DiscCrop, FieldCrop, PreprocessSettings, Resize
from glaucoma.schema import Column, GeometryColumn, Task
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings
from glaucoma.training.experiment import Experiment, Status, create_experiment
from glaucoma.training.find_disc import SegmentedDisc, disc_model
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

Trained = tuple[Experiment, Workspace, Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A segmenter of 64 px on pictures of 96 px, its workspace, and the dataset that it was trained on."""
    from glaucoma.training.loop import run_training

    root = tmp_path_factory.mktemp("discs")
    settings = SyntheticSettings(patients=16, photo_height_px=240, layout=SyntheticLayout.IMAGES_MASKS, seed=5)
    archive = generate_archive(root / "eyes.zip", settings).path
    workspace = Workspace.at(root / "workspace")
    dataset = normalize(unpack(archive, workspace), "eyes", workspace).folder
    prepared = preprocess(dataset, "eyes", workspace, PreprocessSettings(image_size_px=96))
    spec = ExperimentSpec(
        task=Task.SEGMENTATION,
        dataset="eyes",
        prepared_key=prepared.key,
        model="small_unet",
        decoder_channels=(24, 16, 8),
        input_px=64,
        epochs=25,
        batch_size=4,
        learning_rate=1e-2,
        weight_decay=0.0,
        loss="dice_ce",
        augment=0.0,
        patience=25,
    )
    experiment = create_experiment(spec, workspace)
    progress = ProgressWriter(experiment.progress_path)
    run_training(experiment, workspace, ExecutionSettings(device="cpu", threads=1), progress, lambda _: False)
    progress.close()
    experiment.set_status(Status.COMPLETED)
    return experiment, workspace, dataset


def test_the_model_marks_the_disc_on_the_photograph_s_own_pixels(trained: Trained) -> None:
    experiment, workspace, dataset = trained
    finder = SegmentedDisc(experiment, workspace)
    off = []
    for row in read_manifest(dataset).to_dict("records"):
        photograph = read_photograph(dataset / row[Column.IMAGE]).pixels
        marked = finder(photograph)
        assert marked.shape == photograph.shape[:2]
        truth = disc_box(read_mask_file(dataset / row[Column.MASK]).pixels, "the mask")
        found = disc_box(marked, "the model")
        middles = [np.array([box[0] + box[2] / 2, box[1] + box[3] / 2]) for box in (truth, found)]
        off.append(float(np.linalg.norm(middles[0] - middles[1])) / max(truth[2:]))
    assert np.median(off) < 0.25
    assert not finder(np.zeros((100, 120, 3), np.uint8)).any()


def test_photographs_are_cut_around_the_disc_that_the_model_finds(trained: Trained) -> None:
    experiment, workspace, dataset = trained
    steps = (FieldCrop(), DiscCrop(experiment=experiment.experiment_id, side_disc_diameters=3.0), Resize())
    settings = PreprocessSettings(image_size_px=64, steps=steps, max_set_aside_share=0.5)
    model = disc_model(settings, workspace)
    assert model is not None
    output = preprocess(dataset, "eyes", workspace, settings, disc_model=model, workers=3)
    assert output.record.inputs["disc_model"] == model.key
    masks = np.load(output.folder / "masks.npy")
    whole_retina = read_manifest(workspace.prepared("eyes") / experiment.spec.prepared_key)
    manifest = read_manifest(output.folder)
    assert manifest[GeometryColumn.CROP_WIDTH_PX].median() < 0.7 * whole_retina[GeometryColumn.CROP_WIDTH_PX].median()
    assert np.median([(mask > 0).mean() for mask in masks]) > 0.04
    again = preprocess(dataset, "eyes", workspace, settings, disc_model=disc_model(settings, workspace), workers=1)
    assert again.reused


def test_the_key_follows_the_weights(trained: Trained) -> None:
    experiment, workspace, _ = trained
    key = SegmentedDisc(experiment, workspace).key
    assert SegmentedDisc(experiment, workspace).key == key
    recorded = experiment.metadata.checkpoint
    assert recorded is not None

    def swap(sha256: str) -> None:
        experiment.update(lambda m: setattr(m, "checkpoint", recorded.model_copy(update={"sha256": sha256})))

    swap("0" * 64)
    try:
        assert SegmentedDisc(experiment, workspace).key != key
    finally:
        swap(recorded.sha256)


def test_no_experiment_is_opened_where_no_step_names_one(workspace: Workspace) -> None:
    assert disc_model(PreprocessSettings(), workspace) is None
    assert disc_model(PreprocessSettings(steps=(DiscCrop(), Resize())), workspace) is None


def test_an_experiment_that_cannot_find_discs_is_refused(
    trained: Trained, workspace: Workspace, spec: ExperimentSpec, make_spec: Callable[..., ExperimentSpec]
) -> None:
    with pytest.raises(NotFoundError, match="seg-none-12345678"):
        disc_model(PreprocessSettings(steps=(DiscCrop(experiment="seg-none-12345678"), Resize())), workspace)
    with pytest.raises(SettingsError, match="is a classification experiment"):
        SegmentedDisc(create_experiment(spec, workspace), workspace)
    with pytest.raises(SettingsError, match="is a segmentation experiment, created"):
        SegmentedDisc(create_experiment(make_spec(Task.SEGMENTATION), workspace), workspace)


def test_a_model_of_pictures_that_are_cut_around_the_disc_cannot_find_it(trained: Trained) -> None:
    experiment, workspace, dataset = trained
    steps = (DiscCrop(side_disc_diameters=4.0), Resize())
    cut = preprocess(dataset, "eyes", workspace, PreprocessSettings(image_size_px=64, steps=steps))
    other = create_experiment(experiment.spec.model_copy(update={"prepared_key": cut.key}), workspace)
    other.update(lambda m: setattr(m, "checkpoint", experiment.metadata.checkpoint))
    other.set_status(Status.COMPLETED)
    with pytest.raises(SettingsError, match="pictures that are cut around the disc"):
        SegmentedDisc(other, workspace)
