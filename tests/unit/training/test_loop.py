import importlib
from itertools import pairwise

import numpy as np
import pytest
import torch

from glaucoma.errors import DatasetError, IntegrityError, NotFoundError, SettingsError, TrainingError
from glaucoma.models.registry import OWN_MODELS, OwnModel
from glaucoma.schema import Column, Split, Task
from glaucoma.training.catch_up import Bar
from glaucoma.training.checkpoints import LAST, Checkpoints
from glaucoma.training.data import load_arrays, open_prepared
from glaucoma.training.experiment import create_experiment
from glaucoma.training.loop import StoppedError
from glaucoma.training.predict import load_model, predict_classification, predict_segmentation
from glaucoma.training.progress_log import Phase, read_progress
from glaucoma.training.saving import Saving
from glaucoma.workspace import Workspace
from tests.unit.training.running import run, stop_after


def weights(experiment, name="best"):
    checkpoints = Checkpoints(experiment.checkpoints)
    payload = checkpoints.load_best() if name == "best" else checkpoints.load_last(pytest.fail)
    return payload["model"]


def assert_same_weights(first, second):
    for name in ("best", "last"):
        one, other = weights(first, name), weights(second, name)
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key


@pytest.fixture
def other(tmp_path, prepare) -> Workspace:
    prepare(tmp_path / "other")
    return Workspace.at(tmp_path / "other")


@pytest.mark.parametrize("task", list(Task))
def test_the_same_spec_gives_the_same_weights(task, make_spec, workspace, other, execution):
    spec = make_spec(task)
    first = run(spec, workspace, execution)
    torch.manual_seed(12345)  # what the process drew before must not matter
    assert_same_weights(first, run(spec, other, execution))


def test_another_seed_gives_other_weights(make_spec, workspace, execution):
    one, two = (weights(run(make_spec(seed=seed), workspace, execution)) for seed in (0, 1))
    assert any(not torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("calls", [1, 2, 4, 5, 6, 9])
def test_a_run_stopped_anywhere_and_resumed_ends_with_the_same_weights(
    task, calls, make_spec, workspace, other, execution
):
    spec = make_spec(task)
    undisturbed = run(spec, other, execution)
    with pytest.raises(StoppedError):
        run(spec, workspace, execution, stop_after(calls))
    resumed = run(spec, workspace, execution)
    assert [p.event for p in read_progress(resumed.progress_path) if p.event] == ["start", "resume", "end"]
    assert_same_weights(undisturbed, resumed)
    assert resumed.metadata.training == undisturbed.metadata.training


def test_dropout_and_periodic_checkpoints_keep_a_resumed_run_the_same(
    make_spec, workspace, other, execution, monkeypatch
):
    monkeypatch.setitem(OWN_MODELS, "with_dropout", OwnModel(Task.CLASSIFICATION, f"{__name__}:build_with_dropout"))
    real = importlib.import_module  # the patch is seen by all, and cv2 imports a part of itself by it
    monkeypatch.setattr(importlib, "import_module", lambda name: _ThisModule if name == __name__ else real(name))
    often = execution.model_copy(update={"checkpoint_every_s": 1e-6})
    spec = make_spec(model="with_dropout")
    undisturbed = run(spec, other, execution)
    with pytest.raises(RuntimeError, match="killed"):
        run(spec, workspace, often, _killed_after(6))
    assert_same_weights(undisturbed, run(spec, workspace, execution))


@pytest.mark.parametrize("killed_at", [8, 13, 19, 24])
def test_an_end_of_an_epoch_that_is_not_saved_changes_nothing_after_a_kill(
    killed_at, make_spec, workspace, other, execution, monkeypatch
):
    spec = make_spec(epochs=5)
    undisturbed = run(spec, other, execution)
    ends, written = iter([True, False, False, True]), []
    monkeypatch.setattr(Checkpoints, "affordable", lambda _: next(ends, False))
    write = Saving.write

    def checked(self, payload):
        write(self, payload)
        found = Checkpoints(create_experiment(spec, workspace).checkpoints).load_last(pytest.fail)
        written.append(found["state"]["epoch"])  # it has its best model, or it would be refused

    monkeypatch.setattr(Saving, "write", checked)
    with pytest.raises(RuntimeError, match="killed"):
        run(spec, workspace, execution, _killed_after(killed_at))
    assert written == [epoch for epoch, call in ((1, 6), (4, 21)) if call < killed_at]
    resumed = run(spec, workspace, execution)
    assert written[-1] == 5, "the last one always"
    assert_same_weights(undisturbed, resumed)
    assert resumed.metadata.training == undisturbed.metadata.training


def test_no_longer_than_checkpoint_every_s_goes_by_without_a_save(make_spec, workspace, execution, monkeypatch):
    monkeypatch.setattr(Checkpoints, "affordable", lambda _: False)
    saves, save = [], Checkpoints.save_last
    monkeypatch.setattr(Checkpoints, "save_last", lambda self, payload: (saves.append(1), save(self, payload)))
    often = execution.model_copy(update={"checkpoint_every_s": 1e-6})
    lines = read_progress(run(make_spec(), workspace, often).progress_path)
    assert len(saves) == lines[-1].steps + lines[-1].epochs


def test_a_damaged_last_checkpoint_costs_time_and_changes_nothing(spec, workspace, other, execution):
    undisturbed = run(spec, other, execution)
    often = execution.model_copy(update={"checkpoint_every_s": 1e-6})
    with pytest.raises(StoppedError):
        run(spec, workspace, often, stop_after(7))
    experiment = create_experiment(spec, workspace)
    last = experiment.checkpoints / LAST
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    resumed = run(spec, workspace, execution)
    assert_same_weights(undisturbed, resumed)
    assert "last.pt differs from its recorded hash: set aside" in resumed.metadata.notes[0].text


def test_a_damaged_best_checkpoint_begins_anew_and_ends_the_same(spec, workspace, other, execution):
    undisturbed = run(spec, other, execution)
    with pytest.raises(StoppedError):
        run(spec, workspace, execution, stop_after(7))
    experiment = create_experiment(spec, workspace)
    (experiment.checkpoints / "best.pt").write_bytes(b"")
    assert_same_weights(undisturbed, run(spec, workspace, execution))


@pytest.mark.parametrize("limit", [{"max_parameters_millions": 0.05}, {"max_memory_gb": 1e-6}], ids=str)
def test_a_training_beyond_a_limit_is_refused_before_its_first_step(limit, spec, workspace, execution):
    with pytest.raises(SettingsError, match=next(iter(limit))):
        run(spec, workspace, execution.model_copy(update=limit))
    experiment = create_experiment(spec, workspace)
    assert {line.phase for line in read_progress(experiment.progress_path)} == {Phase.LOADING}
    assert list(experiment.checkpoints.iterdir()) == []


def test_what_a_training_needs_is_in_its_metadata(spec, workspace, execution):
    training = run(spec, workspace, execution.model_copy(update={"max_memory_gb": 1})).metadata.training
    assert training["parameters"] == sum(
        value.numel()
        for name, value in weights(create_experiment(spec, workspace)).items()
        if "running_" not in name and "num_batches" not in name
    )
    estimate = training["step_estimate"]
    assert 12 * training["parameters"] < estimate["step_bytes"] < 1e9
    assert (estimate["images"], estimate["reason"]) == (spec.batch_size, "")


def test_it_learns_to_tell_glaucoma_and_to_outline_the_disc(make_spec, workspace, execution):
    classifier = run(make_spec(epochs=6), workspace, execution)
    assert classifier.metadata.training["best_scores"]["auc"] > 0.9
    segmenter = run(make_spec(Task.SEGMENTATION, epochs=8), workspace, execution)
    assert segmenter.metadata.training["best_scores"]["dice_disc"] > 0.8


def test_patience_ends_a_run_that_no_longer_improves(make_spec, workspace, execution):
    spec = make_spec(epochs=40, patience=2, learning_rate=1e-9)
    training = run(spec, workspace, execution).metadata.training
    assert training["stopped_early"]
    assert training["ended_by"] == "patience"
    assert training["epochs_run"] < 40


def test_a_diverged_run_is_told_with_its_learning_rate(make_spec, workspace, execution, monkeypatch):
    monkeypatch.setattr("glaucoma.training.loop.make_loss", lambda *_: lambda x, _: x.mean() * float("nan"))
    with pytest.raises(TrainingError, match=r"diverged.*learning rate, which is 0\.01"):
        run(make_spec(), workspace, execution)


def test_a_loss_that_stays_far_above_its_best_ends_the_run(make_spec, workspace, execution, monkeypatch):
    height = iter([0.5, 0.6, *[60.0] * 40])

    def loss(logits, _):
        return (logits - logits.detach()).mean() + (next(height) if logits.requires_grad else 0.5)

    monkeypatch.setattr("glaucoma.training.loop.make_loss", lambda *_: loss)
    spec = make_spec(batch_size=14, epochs=20)
    with pytest.raises(TrainingError, match=r"for 3 epochs more than 10 times its best, in epoch 5: it diverged"):
        run(spec, workspace, execution)


def test_a_network_that_validates_as_no_number_is_not_kept(make_spec, workspace, execution, monkeypatch):
    def loss(logits, _):
        return logits.mean() * (1.0 if logits.requires_grad else float("inf"))

    monkeypatch.setattr("glaucoma.training.loop.make_loss", lambda *_: loss)
    with pytest.raises(TrainingError, match="on the validation images in epoch 1: it diverged"):
        run(make_spec(), workspace, execution)
    assert not (create_experiment(make_spec(), workspace).checkpoints / "best.pt").exists()


@pytest.mark.parametrize("task", list(Task))
def test_an_averaged_run_in_micro_batches_is_resumed_bit_for_bit(task, make_spec, workspace, other, execution):
    spec = make_spec(task, ema_decay=0.9, clip_norm=None, warm_up_share=0.3)
    small = execution.model_copy(update={"micro_batch_size": 2})
    undisturbed = run(spec, other, small)
    for calls in (2, 5):
        with pytest.raises(StoppedError):
            run(spec, workspace, small, stop_after(calls))
    resumed = run(spec, workspace, small)
    assert_same_weights(undisturbed, resumed)
    training = resumed.metadata.training
    assert training == undisturbed.metadata.training
    assert (training["ema"], training["micro_batch_size"], training["ended_by"]) == (True, 2, "epochs")
    last = Checkpoints(resumed.checkpoints).load_last(pytest.fail)
    assert any(not torch.equal(last["ema"][key], last["model"][key]) for key in last["model"])
    if training["best_epoch"] == spec.epochs:
        best = weights(resumed)
        assert all(torch.equal(best[key], last["ema"][key]) for key in best)


def test_a_run_that_cannot_catch_up_ends_early_and_keeps_its_best(make_spec, workspace, execution):
    spec = make_spec(Task.SEGMENTATION, epochs=6, learning_rate=1e-12, catch_up_margin=0.05)
    experiment = create_experiment(spec, workspace)
    bar = Bar(experiment_id=experiment.experiment_id, margin=0.05, points=[(0.5, 0.9)], records=["one", "two", "three"])
    (experiment.folder / "config" / "to_catch_up.json").write_text(bar.model_dump_json())
    training = run(spec, workspace, execution).metadata.training
    assert (training["ended_by"], training["epochs_run"], training["stopped_early"]) == ("cannot_catch_up", 3, True)
    lines = [line for line in read_progress(experiment.progress_path) if line.event == "cannot_catch_up"]
    assert "the median of 3 finished experiments" in lines[0].message
    load_model(experiment)


def test_progress_says_where_it_is_and_how_long_it_takes(spec, workspace, execution):
    lines = read_progress(run(spec, workspace, execution).progress_path)
    ends = [line for line in lines if line.val]
    assert [line.epoch for line in ends] == [1, 2, 3]
    assert ends[-1].step == ends[-1].steps
    assert ends[-1].share == 1.0
    assert set(ends[0].val) == {"loss", "auc"}
    assert ends[0].images_per_s > 0
    assert ends[0].eta_s >= 0
    assert ends[0].gpu_memory_mb is None
    steps = [line for line in lines if line.event is None and line.phase is None and not line.val]
    assert steps[0].gpu_utilization_percent is None
    assert 0 <= steps[0].wait_share <= 1


def test_each_line_of_a_run_shows_that_it_moved(spec, workspace, execution, monkeypatch):
    for module in ("journal", "progress_log"):
        monkeypatch.setattr(f"glaucoma.training.{module}.INTERVAL_S", -1.0)  # none is left out
    monkeypatch.setattr("glaucoma.training.data._CHUNK", 4)
    compiled = execution.model_copy(update={"micro_batch_size": 2, "compile": True})
    monkeypatch.setattr("glaucoma.training.engine.torch.compile", lambda model: model)
    lines = read_progress(run(spec, workspace, compiled).progress_path)
    assert all(one.place != other.place for one, other in pairwise(lines))
    done = {phase: [line.phase_done for line in lines if line.phase is phase and line.epoch < 2] for phase in Phase}
    n_val = len(load_arrays(open_prepared(spec, workspace), spec, Split.VAL))
    assert done[Phase.VALIDATION] == list(range(1, -(-n_val // 4) + 2)), "a batch is four images; none is left after it"
    assert done[Phase.LOADING][:3] == [4, 8, 12]
    assert done[Phase.COMPILING] == [0]


def test_images_without_a_usable_label_or_mask_are_left_out_and_counted(spec, segmentation_spec, workspace):
    path = workspace.prepared("tiny") / "0123456789abcdef" / "manifest.csv"
    from glaucoma.datasets.manifest import read_manifest, write_manifest

    manifest = read_manifest(path)
    train = manifest.index[manifest[Column.SPLIT] == str(Split.TRAIN)]
    manifest.loc[train[0], Column.LABEL] = "suspect"
    manifest.loc[train[1], Column.CUP_STATE] = "not_visible"
    write_manifest(path, manifest)
    data = open_prepared(spec, workspace)
    assert data.left_out(Task.CLASSIFICATION) == {"label suspect": 1}
    assert data.left_out(Task.SEGMENTATION) == {"disc present, cup not_visible": 1}
    assert len(load_arrays(data, spec, Split.TRAIN)) == len(train) - 1
    assert len(load_arrays(data, segmentation_spec, Split.TRAIN)) == len(train) - 1


def test_arrays_are_resized_in_manifest_order_and_masks_keep_their_values(segmentation_spec, workspace):
    data = open_prepared(segmentation_spec, workspace)
    one, two = (load_arrays(data, segmentation_spec, Split.VAL, threads) for threads in (1, 3))
    assert one.images.shape[1:] == (32, 32, 3)
    assert one.masks is not None
    assert set(np.unique(one.masks)) == {0, 1, 2}
    assert (one.images == two.images).all()
    assert one.image_ids == sorted(one.image_ids)


def test_a_dataset_without_masks_cannot_train_a_segmenter_and_says_so(tmp_path, prepare, segmentation_spec, execution):
    prepare(tmp_path / "bare", masks=False)
    with pytest.raises(DatasetError, match="too few images with disc and cup masks"):
        run(segmentation_spec, Workspace.at(tmp_path / "bare"), execution)


def test_one_class_alone_cannot_train_a_classifier(spec, workspace, execution):
    path = workspace.prepared("tiny") / "0123456789abcdef" / "manifest.csv"
    path.write_text(path.read_text().replace(",glaucoma,", ",normal,"))
    with pytest.raises(DatasetError, match="of those for training 0 show glaucoma"):
        run(spec, workspace, execution)


def test_arrays_that_do_not_belong_to_the_manifest_are_refused(spec, workspace, execution):
    np.save(workspace.prepared("tiny") / "0123456789abcdef" / "images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(IntegrityError, match="preprocess again"):
        run(spec, workspace, execution)


def test_a_prepared_dataset_that_is_not_there_is_told(make_spec, workspace, execution):
    with pytest.raises(NotFoundError, match="0123456789abcdef"):
        run(make_spec().model_copy(update={"prepared_key": "ffff"}), workspace, execution)


def test_predictions_are_those_of_the_best_epoch(spec, workspace, execution):
    from sklearn.metrics import roc_auc_score

    experiment = run(spec, workspace, execution)
    table = predict_classification(experiment, workspace, Split.VAL)
    assert list(table.columns) == ["image_id", "label", "logit", "probability"]
    best = experiment.metadata.training["best_scores"]["auc"]
    assert roc_auc_score(table["label"], table["probability"]) == pytest.approx(best)
    pd_small = predict_classification(experiment, workspace, Split.VAL, batch_size=2)
    assert table["logit"].to_numpy() == pytest.approx(pd_small["logit"].to_numpy(), abs=1e-4)


def test_segmentations_have_the_prepared_resolution(segmentation_spec, workspace, execution):
    experiment = run(segmentation_spec, workspace, execution)
    predictions = list(predict_segmentation(experiment, workspace, Split.TEST, batch_size=2))
    data = open_prepared(segmentation_spec, workspace)
    rows = data.rows(Task.SEGMENTATION, Split.TEST)
    assert len(predictions) == len(rows) > 0
    for prediction, row in zip(predictions, rows, strict=True):
        assert prediction.probability.shape == (2, 48, 48)
        assert prediction.probability.dtype == np.float32
        assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1
        assert (prediction.truth == data.masks[row]).all()


def test_a_swapped_best_checkpoint_is_not_evaluated(make_spec, workspace, execution):
    one, two = (run(make_spec(seed=seed), workspace, execution) for seed in (0, 1))
    for name in ("best.pt", "checkpoints.sha256"):
        (one.checkpoints / name).write_bytes((two.checkpoints / name).read_bytes())
    with pytest.raises(IntegrityError, match="not the checkpoint"):
        load_model(one)


def test_a_model_that_todays_libraries_build_otherwise_is_told(make_spec, workspace, execution, monkeypatch):
    experiment = run(make_spec(epochs=1), workspace, execution)
    monkeypatch.setattr("glaucoma.training.build.build_model", lambda *_, **__: torch.nn.Linear(2, 1))
    with pytest.raises(
        IntegrityError, match=r"best\.pt does not fit small_cnn as it is built today: its model does not"
    ):
        load_model(experiment)


class _WithDropout(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * 32 * 32, 1))

    def forward(self, images):
        return self.layers(images)


class _ThisModule:
    build_with_dropout = staticmethod(_WithDropout)


def _killed_after(calls):
    seen = iter(range(1, 10**6))

    def should_stop(_):
        if next(seen) == calls:
            raise RuntimeError("killed")
        return False

    return should_stop
