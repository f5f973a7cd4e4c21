"""From several archives to one dataset, as a person does it from the command line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from flows.cli import BAD_INPUT, DONE, main
from flows.configs import IntakeConfig, MergeConfig, NormalizeConfig, UnpackConfig
from flows.intake import intake
from flows.merge import merge
from flows.normalize import normalize
from flows.unpack import unpack

MAPPING = "images: '{label}/{patient}_{eye}.jpg'\nlabels: {GON: glaucoma, HC: normal}\norigin: clinic\n"


@pytest.fixture
def clinic(archives: Path, tmp_path: Path) -> Path:
    """The generated class folders under words that nobody knows, and their mapping beside."""
    path = tmp_path / "clinic.zip"
    with zipfile.ZipFile(archives / "folders.zip") as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            name = member.filename.replace("glaucoma/", "GON/").replace("normal/", "HC/")
            target.writestr(name, source.read(member))
    (tmp_path / "clinic.yaml").write_text(MAPPING)
    return path


def test_an_archive_that_nobody_knows_and_a_known_one_become_one_dataset(
    archives: Path,
    clinic: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task_states: Callable[[str], list[tuple[str, str]]],
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    for archive, name, settings in (
        (archives / "masks.zip", "known", []),
        (clinic, "clinic", ["--normalize.mapping", str(clinic.with_suffix(".yaml"))]),
    ):
        assert main(unpack, UnpackConfig, arguments=["--archive", str(archive), *workspace]) == DONE
        assert main(normalize, NormalizeConfig, arguments=["--name", name, *settings, *workspace]) == DONE
    capsys.readouterr()
    arguments = ["--name", "both", "--datasets", "known", "--datasets", "clinic", "--json", *workspace]
    assert main(merge, MergeConfig, arguments=arguments) == DONE
    result = json.loads(capsys.readouterr().out)
    assert result["details"]["counts_by_origin"] == {"clinic": 32, "known": 32}
    assert result["counts"]["with_mask"] == 32
    assert main(merge, MergeConfig, arguments=arguments) == DONE
    assert json.loads(capsys.readouterr().out)["reused"]
    assert task_states("merge-both") == [("merge both", "Cached")]


def test_an_unknown_layout_ends_with_what_was_seen_and_the_mapping_to_write(
    clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--archive", str(clinic), "--name", "clinic", "--workspace", str(tmp_path / "ws")]
    assert main(intake, IntakeConfig, arguments=arguments) == BAD_INPUT
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Bad input: The files follow no known layout.")
    with get_client(sync_client=True) as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["intake-clinic"]))
        (run,) = client.read_flow_runs(flow_run_filter=named)
    assert run.state is not None
    assert "labels: {GON: unknown, HC: unknown}" in str(run.state.message), (
        "the terminal's log is short, the UI's is not"
    )
    assert "--normalize.mapping" in last
    assert "labels: {GON: unknown, HC: unknown}" in last


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--name", "both", "--datasets", "a,b", "--workspace", str(tmp_path / "ws")]
    assert main(merge, MergeConfig, arguments=arguments) == BAD_INPUT
    assert "No dataset a" in capsys.readouterr().err.splitlines()[-1]
