"""What a worker's run may name: nothing outside its roots, by whatever way the name leads there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows import configs
from glaucoma.datasets.registry import RegisterSettings
from glaucoma.errors import SettingsError
from glaucoma.settings import CONFINED
from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace
from tasks.recover import workspace_of_run


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker's run: its workspace, and `incoming` as a further root."""
    for name in ("workspace", "incoming", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("ARC_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("ARC_ALLOWED_ROOTS", f"{tmp_path / 'incoming'}:")
    return tmp_path


def unpack(archive: object) -> Path:
    return configs.UnpackConfig.model_validate({"archive": str(archive)}).archive


def test_paths_under_the_workspace_and_the_further_roots_are_taken_with_their_links_resolved(worker: Path) -> None:
    (worker / "incoming" / "link").symlink_to(worker / "workspace" / "a.zip")
    assert unpack(worker / "incoming" / "link") == worker / "workspace" / "a.zip"
    assert unpack(worker / "workspace" / "x" / ".." / "b.zip") == worker / "workspace" / "b.zip"


def test_whatever_leads_outside_is_refused_with_what_was_named_and_where_it_may_lie(worker: Path) -> None:
    (worker / "incoming" / "out").symlink_to(worker / "elsewhere")
    (worker / "incoming" / "loop").symlink_to("loop")
    for named in (
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "a.zip",
        "~/a.zip",
        f"{worker}/incoming/../elsewhere/a.zip",
        f"{worker}/incoming/out/a.zip",
        f"{worker}/incoming-too/a.zip",
    ):
        with pytest.raises(ValidationError, match="is outside") as refused:
            unpack(named)
        assert f"below {worker}/workspace or {worker}/incoming" in str(refused.value)
        assert "ARC_ALLOWED_ROOTS in the worker's environment" in str(refused.value)
    for named in (f"{worker}/incoming/loop", f"{worker}/incoming/a\0b"):
        with pytest.raises(ValidationError):
            unpack(named)


def test_what_is_hidden_below_a_root_is_no_input(worker: Path) -> None:
    for named in ("workspace/.services/password", "incoming/.aws/credentials"):
        with pytest.raises(ValidationError, match="is hidden there"):
            unpack(worker / named)


def test_every_kind_of_path_is_held_to_the_roots(worker: Path) -> None:
    outside = str(worker / "elsewhere" / "file")
    for config, given in (
        ("FlowConfig", {"workspace": outside}),
        ("GenerateConfig", {"archive": outside}),
        ("NormalizeConfig", {"name": "eyes", "normalize": {"mapping": outside}}),
        ("TrainConfig", {"name": "eyes", "train": {"pretrained": True, "weights_path": outside}}),
        ("ResearchCycleConfig", {"name": "eyes", "rules": outside}),
        ("RegisterConfig", {"name": "eyes", "registry": {"remote_url": outside}}),
    ):
        with pytest.raises(ValidationError, match="is outside"):
            getattr(configs, config).model_validate(given)
    assert configs.FlowConfig.model_validate({"workspace": str(worker / "workspace" / "mine")}).workspace


def test_a_remote_is_s3_or_a_folder_under_a_root(worker: Path) -> None:
    for taken in ("s3://bucket/arc", str(worker / "incoming" / "remote")):
        assert RegisterSettings(remote_url=taken).remote_url == taken
    for refused in ("file:///etc", "ssh://host/arc", "https://host/arc", "hdfs://x", "remote://arc", "/etc"):
        with pytest.raises(ValidationError, match="Expected"):
            RegisterSettings(remote_url=refused)


def test_who_starts_a_flow_at_a_terminal_keeps_the_rights_of_a_person(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID")
    outside = worker / "elsewhere" / "a.zip"
    assert unpack(outside) == outside
    assert RegisterSettings(remote_url="ssh://host/arc").remote_url == "ssh://host/arc"
    with pytest.raises(ValidationError, match="is outside"):  # a hook, in whatever process it runs
        configs.FlowConfig.model_validate({"workspace": str(outside)}, context=CONFINED)


def test_recover_follows_no_crashed_runs_workspace_out_of_the_roots(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, inside, outside = Workspace.at(worker / "workspace"), worker / "incoming" / "w", worker / "elsewhere"
    assert workspace_of_run({}, own) == own
    assert workspace_of_run({"config": {"workspace": str(inside)}}, own).root == inside
    with pytest.raises(SettingsError, match=r"is outside.*Nothing of it is taken up"):
        workspace_of_run({"config": {"workspace": str(outside)}}, own)
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID")
    assert workspace_of_run({"config": {"workspace": str(outside)}}, own).root == outside


def test_an_experiment_that_a_person_began_with_weights_of_elsewhere_can_still_be_read_but_not_named(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "task": "classification", "dataset": "eyes", "prepared_key": "0" * 16, "model": "small_cnn", "input_px": 32,
        "epochs": 1, "batch_size": 2, "learning_rate": 0.1, "weight_decay": 0, "loss": "focal",
        "weights_path": str(worker / "elsewhere" / "w.pth"),
    }  # fmt: skip
    with pytest.raises(ValidationError, match="is outside"):
        ExperimentSpec.model_validate(values)
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID")
    made: Experiment = create_experiment(ExperimentSpec.model_validate(values), Workspace.at())
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0" * 32)
    assert made.spec.weights_path == worker / "elsewhere" / "w.pth"
