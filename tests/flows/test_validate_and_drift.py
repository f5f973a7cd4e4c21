"""Validation of raw, normalized and prepared data, and the gate on drift, through flows and command line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from pydantic import ValidationError

from flows.cli import parse
from flows.configs import DriftConfig, IntakeConfig, ResearchCycleConfig, UnpackConfig, ValidateConfig
from flows.drift import drift
from flows.intake import intake
from flows.unpack import unpack
from flows.validate import validate
from glaucoma.datasets.drift_settings import DriftGate
from glaucoma.errors import NotFoundError, ValidationFailedError


def intake_config(workspace: Path, archive: Path, name: str, **more: Any) -> IntakeConfig:
    settings = {"archive": archive, "workspace": workspace, "name": name, "preset": "smoke", **more}
    return IntakeConfig.model_validate({**settings, "preprocess": {"image_size_px": 64}, "registry": {"push": False}})


@pytest.fixture(scope="module")
def taken_in(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A workspace in which `old` is taken in, and the result."""
    workspace = tmp_path_factory.mktemp("workspace")
    return workspace, intake(intake_config(workspace, archives / "masks.zip", "old"))


@pytest.fixture(scope="module")
def other_archive(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same eyes, from a camera that shows them half as bright."""
    path = tmp_path_factory.mktemp("other") / "other.zip"
    with zipfile.ZipFile(archives / "masks.zip") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".jpg"):
                picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None
                content = cv2.imencode(".jpg", (picture * 0.5).astype(np.uint8))[1].tobytes()
            target.writestr(name, content)
    return path


def shown(*keys: str) -> set[str]:
    """Those of the keys under which the server has an artifact; asked for by name, for a page of all holds 200 only."""
    named = ArtifactFilter(key=ArtifactFilterKey(any_=list(keys)))
    with get_client(sync_client=True) as client:
        return {str(artifact.key) for artifact in client.read_artifacts(artifact_filter=named)}


def test_the_intake_validates_the_archive_the_dataset_and_what_was_prepared(taken_in: tuple[Path, Any]) -> None:
    workspace, result = taken_in
    stages = [stage.stage for stage in result.stages]
    assert stages == ["unpack", "normalize", "validate-raw", "validate", "preprocess", "validate-prepared"]
    judged = [stage for stage in result.stages if stage.stage.startswith("validate")]
    assert [stage.details["what"] for stage in judged] == ["raw", "normalized", "prepared"]
    for stage in judged:
        assert stage.details["passed"]
        assert stage.folder.parent == workspace / "validations" / "old"
        assert (stage.folder / stage.details["data_docs"]).is_file()
    for keys in (
        {"validation-raw-old", "validation-old", "validation-prepared-old"},
        {"data-docs-raw-old", "data-docs-old", "data-docs-prepared-old"},
    ):
        assert shown(*keys) == keys


@pytest.mark.parametrize("what", ["raw", "normalized", "prepared"])
def test_each_can_be_asked_for_alone_and_is_found_again(taken_in: tuple[Path, Any], what: str) -> None:
    settings = {"workspace": taken_in[0], "name": "old", "preset": "smoke", "what": what}
    result = validate(ValidateConfig.model_validate(settings))
    assert result.details["what"] == what
    assert result.reused


def test_without_a_key_the_archive_judged_is_the_dataset_s_own_and_not_the_newest(
    taken_in: tuple[Path, Any], other_archive: Path
) -> None:
    workspace, _ = taken_in
    unpack(UnpackConfig(archive=other_archive, workspace=workspace))
    settings = {"workspace": workspace, "name": "old", "preset": "smoke", "what": "raw"}
    assert validate(ValidateConfig.model_validate(settings)).details["archive"] == "masks.zip"
    unknown = validate(ValidateConfig.model_validate(settings | {"name": "not-made-yet"}))
    assert unknown.details["archive"] == "other.zip"


def test_the_gate_decides_what_a_drift_does(taken_in: tuple[Path, Any], other_archive: Path) -> None:
    workspace, _ = taken_in
    warned = intake(intake_config(workspace, other_archive, "new", drift={"reference": "old"}))
    compared = next(stage for stage in warned.stages if stage.stage == "drift")
    assert "brightness" in compared.details["drifted"]
    assert shown("drift-of-new", "drift-plots-new") == {"drift-of-new", "drift-plots-new"}
    with pytest.raises(ValidationFailedError, match=r"drifts against the reference.*drift\.html"):
        intake(intake_config(workspace, other_archive, "new", drift={"reference": "old", "gate": "stop"}))
    silent = intake(intake_config(workspace, other_archive, "new", drift={"reference": "old", "gate": "off"}))
    assert "drift" not in {stage.stage for stage in silent.stages}
    alone = drift(
        DriftConfig.model_validate(
            {"workspace": workspace, "name": "new", "drift": {"reference": "old"}, "preset": "smoke"}
        )
    )
    assert alone.reused
    assert alone.key == compared.key


def test_a_reference_that_nobody_validated_is_an_error_with_the_command_for_it(taken_in: tuple[Path, Any]) -> None:
    settings = {"workspace": taken_in[0], "name": "old", "preset": "smoke", "drift": {"reference": "unheard-of"}}
    with pytest.raises(NotFoundError, match=r"unheard-of\. .*python -m flows\.validate --name unheard-of"):
        drift(DriftConfig.model_validate(settings))


def test_a_missing_reference_ends_the_intake_before_any_work(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="unheard-of"):
        intake(intake_config(tmp_path, archives / "masks.zip", "new", drift={"reference": "unheard-of"}))
    assert not [*tmp_path.glob("archives/[0-9a-f]*")]


def test_the_settings_are_on_the_command_line_of_flow_intake_and_cycle() -> None:
    options = ["--name", "new", "--drift.reference", "old", "--drift.gate", "stop", "--drift.min-difference", "0.5"]
    for config_type, more in ((DriftConfig, []), (IntakeConfig, ["--archive", "a.zip"]), (ResearchCycleConfig, [])):
        config, _ = parse(config_type, [*options, *more])
        assert config.drift.gate is DriftGate.STOP
        assert config.drift.min_difference == 0.5
    cycle, _ = parse(ResearchCycleConfig, options)
    assert cycle.intake(Path("a.zip")).drift == cycle.drift


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"must name a dataset"):
        DriftConfig.model_validate({"name": "new"})
    with pytest.raises(ValidationError, match=r"no effect"):
        ValidateConfig.model_validate({"name": "new", "what": "raw", "drift": {"reference": "old"}})
