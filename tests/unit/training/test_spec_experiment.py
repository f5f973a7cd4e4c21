import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from glaucoma.errors import IntegrityError, NotFoundError, SettingsError, WeightsUnavailableError
from glaucoma.provenance import code_sha256
from glaucoma.schema import Preset, Task
from glaucoma.training.experiment import (
    FOLDERS,
    Experiment,
    Status,
    create_experiment,
    list_experiments,
    open_experiment,
    remove_experiment,
)
from glaucoma.training.progress_log import ProgressReader, ProgressWriter, read_progress
from glaucoma.training.spec import ExperimentSpec, TrainSettings, experiment_id, spec_from
from glaucoma.training.supervise import other_code
from glaucoma.workspace import Workspace


def test_the_id_says_task_and_model_and_changes_with_every_field(make_spec):
    spec = make_spec()
    assert experiment_id(spec).startswith("cls-small_cnn-")
    assert experiment_id(make_spec(Task.SEGMENTATION)).startswith("seg-small_unet-")
    changes = {
        "seed": 1, "epochs": 9, "learning_rate": 0.5, "augment": 0.1, "loss": "cross_entropy", "batch_size": 8,
        "weight_decay": 0.3, "input_px": 64, "patience": 3, "balanced_sampling": False, "model": "lcnet_050",
    }  # fmt: skip
    ids = {experiment_id(make_spec(**{name: value})) for name, value in changes.items()}
    assert len(ids | {experiment_id(spec)}) == len(changes) + 1


def test_the_id_survives_yaml(make_spec):
    spec = make_spec(Task.SEGMENTATION)
    again = ExperimentSpec.model_validate(yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json"))))
    assert again == spec
    assert experiment_id(again) == experiment_id(spec)


def test_a_weights_file_counts_by_its_bytes_and_not_by_its_place(make_spec, tmp_path):
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"1")
    second.write_bytes(b"1")
    ids = [experiment_id(make_spec(pretrained=True, weights_path=path)) for path in (first, second)]
    assert ids[0] == ids[1]
    second.write_bytes(b"2")
    assert experiment_id(make_spec(pretrained=True, weights_path=second)) != ids[0]


def test_a_missing_weights_file_is_told_before_anything_runs(make_spec, tmp_path):
    with pytest.raises(WeightsUnavailableError, match=r"nowhere\.pth is not there"):
        make_spec(pretrained=True, weights_path=tmp_path / "nowhere.pth")


def test_each_task_has_its_own_weights_file(tmp_path):
    classifier, encoder = tmp_path / "b3.pth", tmp_path / "r34.pth"
    for path in (classifier, encoder):
        path.write_bytes(path.name.encode())
    settings = TrainSettings.for_preset("base", weights_path=classifier, segmentation_weights_path=encoder)
    assert spec_from(settings, Task.CLASSIFICATION, "eyes", "a" * 16).weights_path == classifier
    assert spec_from(settings, Task.SEGMENTATION, "eyes", "a" * 16).weights_path == encoder
    alone = TrainSettings.for_preset("base", weights_path=classifier)
    assert spec_from(alone, Task.SEGMENTATION, "eyes", "a" * 16).weights_path is None


@pytest.mark.parametrize("name", ["weights_path", "segmentation_weights_path"])
def test_weights_that_would_not_be_used_are_refused(name, tmp_path):
    with pytest.raises(ValidationError, match=f"{name} would have no effect: pretrained is off"):
        TrainSettings.for_preset("smoke", **{name: tmp_path / "b3.pth"})


def test_augmentation_that_would_not_be_done_is_refused():
    with pytest.raises(ValidationError, match="augmentation would have no effect: augment, its strength, is 0"):
        TrainSettings.for_preset("smoke", augment=0.0, augmentation={"gamma": 0.2})
    TrainSettings.for_preset("smoke", augment=0.0)


def test_a_home_folder_in_a_path_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/reader")
    settings = TrainSettings.for_preset("base", weights_path="~/b3.pth")
    assert settings.weights_path == Path("/home/reader/b3.pth")


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss", "dice"), ("loss", "nonsense"), ("learning_rate", -1.0), ("batch_size", 1), ("lerning_rate", 0.1)],
)
def test_a_wrong_override_is_refused_by_name(make_spec, field, value):
    with pytest.raises(SettingsError, match=field):
        make_spec(**{field: value})


def test_a_segmentation_input_that_a_unet_cannot_halve_five_times_is_refused(make_spec):
    with pytest.raises(SettingsError, match="multiple of 32"):
        make_spec(Task.SEGMENTATION, input_px=100)


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize("task", list(Task))
def test_every_preset_gives_a_valid_spec_for_every_task(preset, task):
    settings = TrainSettings.for_preset(preset)
    spec = spec_from(settings, task, "refuge", "k")
    assert spec.pretrained is (preset is not Preset.SMOKE)
    assert bool(spec.decoder_channels) is (task is Task.SEGMENTATION)


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="epoch_count"):
        TrainSettings.for_preset("smoke", epoch_count=3)


def test_a_new_experiment_has_its_folders_its_spec_and_its_history(workspace, spec):
    experiment = create_experiment(spec, workspace)
    assert all((experiment.folder / name).is_dir() for name in FOLDERS)
    assert experiment.spec == spec
    assert experiment.status is Status.CREATED
    assert create_experiment(spec, workspace).metadata == experiment.metadata
    assert open_experiment(experiment.experiment_id, workspace) == experiment
    assert list_experiments(workspace) == [experiment]


def test_an_unknown_experiment_names_those_that_are_there(workspace, spec):
    known = create_experiment(spec, workspace).experiment_id
    with pytest.raises(NotFoundError, match=known):
        open_experiment("cls-nothing-0", workspace)


def test_a_changed_spec_file_is_noticed(workspace, spec):
    experiment = create_experiment(spec, workspace)
    text = experiment.spec_path.read_text().replace("epochs: 3", "epochs: 4")
    experiment.spec_path.write_text(text)
    with pytest.raises(IntegrityError, match="describes"):
        _ = experiment.spec


def test_damaged_metadata_are_told_with_the_file(workspace, spec):
    experiment = create_experiment(spec, workspace)
    experiment.metadata_path.write_text("{")
    with pytest.raises(IntegrityError, match=r"metadata\.json"):
        _ = experiment.metadata


def test_history_metrics_and_notes_are_kept(workspace, spec):
    experiment = create_experiment(spec, workspace)
    experiment.set_status(Status.FAILED, "because")
    experiment.set_metrics("val", {"auc": 0.8})
    experiment.set_metrics("test", {"auc": float("nan")})
    experiment.note("a checkpoint was set aside")
    metadata = experiment.metadata
    assert [change.status for change in metadata.history] == [Status.CREATED, Status.FAILED]
    assert metadata.history[-1].reason == "because"
    assert metadata.metrics == {"val": {"auc": 0.8}, "test": {"auc": None}}
    assert metadata.notes[0].text == "a checkpoint was set aside"


def _add_notes(folder: Path, n: int) -> None:
    for number in range(n):
        Experiment(folder).note(str(number))


def test_two_processes_cannot_undo_each_others_change(workspace, spec):
    experiment = create_experiment(spec, workspace)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_notes, args=(experiment.folder, 10)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(experiment.metadata.notes) == 20


def test_rollback_removes_the_folder(workspace, spec):
    experiment = create_experiment(spec, workspace)
    remove_experiment(experiment, workspace)
    assert not experiment.folder.exists()


def test_a_reader_sees_new_whole_lines_only(tmp_path):
    path = tmp_path / "progress.jsonl"
    writer = ProgressWriter(path)
    writer.write(event="begin")
    reader = ProgressReader(path)
    writer.write(epoch=1, epochs=2, step=3, steps=6, loss=float("nan"), val={"auc": float("nan")})
    (line,) = reader.new()
    assert (line.epoch, line.share, line.loss, line.val) == (1, 0.5, None, {"auc": None})
    assert "auc undefined" in line.line()
    with path.open("a") as handle:
        handle.write('{"time": "2026-01-01T')
        handle.flush()
        assert list(reader.new()) == []
        handle.write('00:00:00Z", "epoch": 2}\n')
    assert [p.epoch for p in reader.new()] == [2]
    writer.close()


def test_a_line_torn_by_a_kill_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_text('{"time": "2026-01-01T00:00:00Z", "epoch": 1}\n{"time": "20')
    writer = ProgressWriter(path)
    writer.write(epoch=2)
    writer.close()
    assert [progress.epoch for progress in read_progress(path)] == [1, 2]


def test_step_lines_are_limited_in_rate(tmp_path):
    writer = ProgressWriter(tmp_path / "progress.jsonl")
    for step in range(100):
        writer.step(step=step)
    writer.close()
    assert len(read_progress(tmp_path / "progress.jsonl")) == 1


def test_the_workspace_of_the_fixture_is_whole(workspace: Workspace):
    assert (workspace.prepared("tiny") / "0123456789abcdef" / "images.npy").is_file()


def test_planning_and_supervising_import_no_torch():
    program = (
        "import sys, glaucoma.training.supervise, glaucoma.training.predict, glaucoma.models.classifiers, "
        "glaucoma.models.segmenters; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_model_that_other_code_trained_is_told(make_spec, tmp_path):
    experiment = create_experiment(make_spec(), Workspace.at(tmp_path))
    assert other_code(experiment) == ""
    experiment.update(lambda metadata: setattr(metadata, "code_sha256", "ab" * 32))
    assert "trained by other code than today's (abababab, now " in other_code(experiment)
    experiment.update(lambda metadata: setattr(metadata, "code_sha256", code_sha256("glaucoma.training.loop")))
    assert other_code(experiment) == ""
