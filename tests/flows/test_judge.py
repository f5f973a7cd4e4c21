"""From two photographs that look alike, through a person's word, to a dataset that heeds it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.cli import BAD_INPUT, DONE, main
from flows.configs import JudgeConfig, NormalizeConfig, UnpackConfig
from flows.judge import judge
from flows.normalize import normalize
from flows.unpack import unpack
from glaucoma.datasets.suspects import read_suspects


@pytest.fixture
def with_copies(archives: Path, tmp_path: Path) -> Path:
    """The generated class folders, and copies of three photographs, each cut a little more than the one before."""
    path = tmp_path / "copies.zip"
    with zipfile.ZipFile(archives / "folders.zip") as source, zipfile.ZipFile(path, "w") as target:
        photographs = [member for member in source.namelist() if member.endswith(".jpg")]
        for member in source.namelist():
            target.writestr(member, source.read(member))
        for number, member in enumerate(photographs[:3]):
            pixels = cv2.imdecode(np.frombuffer(source.read(member), np.uint8), cv2.IMREAD_COLOR)
            for cut in range(1, 6):
                content = cv2.imencode(".png", pixels[2 * cut :, 2 * cut :])[1].tobytes()
                target.writestr(f"{Path(member).parent}/copy{number}{cut}.png", content)
    return path


def artifact(key: str) -> str:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return str(max(found, key=lambda one: one.created).data)


def test_a_pair_is_shown_judged_and_heeded(
    with_copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    assert main(unpack, UnpackConfig, arguments=["--archive", str(with_copies), *workspace]) == DONE
    capsys.readouterr()
    assert main(normalize, NormalizeConfig, arguments=["--name", "eyes", "--json", *workspace]) == DONE
    made = json.loads(capsys.readouterr().out)
    pairs = read_suspects(Path(made["folder"]))
    assert pairs
    shown = artifact("suspects-eyes")
    assert "suspects.html" in shown
    assert pairs[0].first in shown
    assert '"verdict": "same"' not in shown  # a verdict is a person's, not a template's

    said = {"name": "eyes", "by": "A. Reader", "pairs": []}
    said["pairs"] = [{"first": one.first, "second": one.second, "verdict": "same"} for one in pairs]
    (tmp_path / "judged.yaml").write_text(yaml.safe_dump(said))
    arguments = ["--config", str(tmp_path / "judged.yaml"), "--json", *workspace]
    assert main(judge, JudgeConfig, arguments=arguments) == DONE
    assert json.loads(capsys.readouterr().out)["new"] == len(pairs)
    assert main(judge, JudgeConfig, arguments=arguments) == DONE
    assert json.loads(capsys.readouterr().out)["unchanged"] == len(pairs)

    assert main(normalize, NormalizeConfig, arguments=["--name", "eyes", "--json", *workspace]) == DONE
    again = json.loads(capsys.readouterr().out)
    assert not again["reused"]
    assert again["details"]["judgements"]["same"] == len(pairs)
    left = {(one.first, one.second) for one in read_suspects(Path(again["folder"]))}
    assert not left & {(one.first, one.second) for one in pairs}


def test_a_photograph_that_is_not_there_is_named(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    assert main(unpack, UnpackConfig, arguments=["--archive", str(archives / "folders.zip"), *workspace]) == DONE
    assert main(normalize, NormalizeConfig, arguments=["--name", "eyes", *workspace]) == DONE
    pairs = '{"first": "nobody", "second": "noone", "verdict": "same"}'
    arguments = ["--name", "eyes", "--by", "A", "--pairs", pairs, *workspace]
    assert main(judge, JudgeConfig, arguments=arguments) == BAD_INPUT
    assert "2 of the photographs named are not in the dataset" in capsys.readouterr().err.splitlines()[-1]
