"""A whole training that sees clinical values: their scale comes from the training split, and survives a resume."""

import numpy as np
import pytest
import torch

from glaucoma.datasets.manifest import read_manifest, write_manifest
from glaucoma.schema import Column, Split
from glaucoma.training.checkpoints import Checkpoints
from glaucoma.training.loop import StoppedError
from glaucoma.training.predict import load_model, predict_classification
from glaucoma.workspace import Workspace
from tests.unit.training.running import run


def with_ages(folder):
    """Ages of 40 and up, one of them missing; those of validation and test lie 50 years higher."""
    path = folder / "manifest.csv"
    manifest = read_manifest(path)
    ages = 40.0 + np.arange(len(manifest))
    train = (manifest[Column.SPLIT] == str(Split.TRAIN)).to_numpy()
    texts = [f"{age:g}" for age in np.where(train, ages, ages + 50)]
    texts[int(np.flatnonzero(train)[0])] = ""
    manifest[Column.AGE_YEARS] = texts
    write_manifest(path, manifest)
    return ages[train][1:]


def test_a_classifier_with_clinical_values_trains_resumes_and_predicts_on_the_scale_of_its_training_split(
    make_spec, workspace, tmp_path, prepare, execution
):
    spec = make_spec(clinical=("age_years",), epochs=2, ema_decay=0.5)
    ages = with_ages(workspace.prepared(spec.dataset) / spec.prepared_key)
    with_ages(prepare(tmp_path / "other"))
    small = execution.model_copy(update={"micro_batch_size": 2})
    undisturbed = run(spec, Workspace.at(tmp_path / "other"), small)
    calls = iter(range(1, 100))
    with pytest.raises(StoppedError):
        run(spec, workspace, small, lambda _: next(calls) == 2)
    resumed = run(spec, workspace, small)
    one, two = (Checkpoints(made.checkpoints).load_best()["model"] for made in (undisturbed, resumed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert two["clinical_mean"].tolist() == pytest.approx([ages.mean()])
    assert two["clinical_std"].tolist() == pytest.approx([ages.std()])
    table = predict_classification(resumed, workspace, Split.VAL)
    assert table["logit"].notna().all()
    model, _ = load_model(resumed)
    images = torch.zeros(2, 3, 32, 32)
    young, old = (model(images, torch.full((2, 1), age)) for age in (40.0, 90.0))
    assert not torch.equal(young, old)
