"""Bad input, from the command line's side: the exit code, the one sentence at the end, and nothing half-written."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL
from rich.console import Console

from flows.cli import BAD_INPUT, DONE, FAILED, main
from flows.configs import ExperimentConfig, IntakeConfig, ResearchCycleConfig
from flows.experiment import experiment
from flows.intake import intake
from flows.research_cycle import research_cycle

SIDE_PX = 96
INTAKE = ["--name", "eyes", "--preset", "smoke", "--preprocess.image-size-px", "64", "--no-registry.push"]
CYCLE = [*INTAKE, "--train.execution.device", "cpu"]
Files = dict[str, bytes]


class Ended(NamedTuple):
    code: int
    said: str
    out: str

    @property
    def last(self) -> str:
        return self.said.splitlines()[-1]


@dataclass(frozen=True)
class Terminal:
    """Runs flows in this process as a person would from a terminal, each in the same workspace."""

    workspace: Path
    capture: pytest.CaptureFixture[str]

    def run(self, flow: Any, config: Any, arguments: list[str]) -> Ended:
        self.capture.readouterr()
        code = main(flow, config, arguments=[*arguments, "--workspace", str(self.workspace)])
        out, said = self.capture.readouterr()
        return Ended(code, said, out)

    def intake(self, archive: Path, *more: str) -> Ended:
        return self.run(intake, IntakeConfig, ["--archive", str(archive), *INTAKE, *more])

    def cycle(self, *more: str) -> Ended:
        return self.run(research_cycle, ResearchCycleConfig, [*CYCLE, *more])

    def experiment(self, *more: str) -> Ended:
        arguments = ["--name", "eyes", "--preset", "smoke", "--train.execution.device", "cpu"]
        return self.run(experiment, ExperimentConfig, [*arguments, *more])

    def made(self) -> list[str]:
        """The kinds of finished things in the workspace, such as `archives` and `datasets`."""
        of_a_dataset = ("datasets", "validations", "prepared")
        kinds = ("archives", *of_a_dataset, "experiments", "cycles")
        return [k for k in kinds if list((self.workspace / k).glob("*/*" if k in of_a_dataset else "*"))]


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(sys, "argv", ["/somewhere/flows/research_cycle.py"])
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):  # as in a terminal: its lines go where the sentence goes
            monkeypatch.setattr(handler, "console", Console(stderr=True, markup=False, highlight=False))
    return Terminal(tmp_path / "workspace", capsys)


@pytest.fixture(scope="module")
def prepared_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset `eyes` that is ready for experiments; nothing may be added to it."""
    folder = tmp_path_factory.mktemp("ready")
    archive = zipped(folder / "eyes.zip", photographs(12, 12))
    arguments = ["--archive", str(archive), *INTAKE, "--workspace", str(folder / "w")]
    assert main(intake, IntakeConfig, arguments=arguments) == DONE
    return folder / "w"


@pytest.fixture
def ready(prepared_workspace: Path, terminal: Terminal) -> Terminal:
    return Terminal(prepared_workspace, terminal.capture)


def photograph(seed: int) -> bytes:
    """A JPEG of soft blobs; no two seeds look alike, so that none counts as a copy of another."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 220, (9, 9, 3), dtype=np.uint8)
    blobs = cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", blobs)[1].tobytes()


def photographs(normal: int, glaucoma: int) -> Files:
    files = {f"normal/n{i:03d}.jpg": photograph(i) for i in range(normal)}
    return files | {f"glaucoma/g{i:03d}.jpg": photograph(1000 + i) for i in range(glaucoma)}


def zipped(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def missing(folder: Path) -> Path:
    return folder / "eyes.zip"


def empty(folder: Path) -> Path:
    (folder / "eyes.zip").touch()
    return folder / "eyes.zip"


def cut_zip(folder: Path) -> Path:
    return cut(zipped(folder / "eyes.zip", photographs(3, 3)))


def cut_tar(folder: Path) -> Path:
    return cut(tarred(folder / "eyes.tar.gz", photographs(3, 3)))


def cut(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def encrypted(folder: Path) -> Path:
    """A zip whose members say that they are encrypted: bit 0 of the flags in both of a member's headers."""
    path = zipped(folder / "eyes.zip", photographs(2, 2))
    content = bytearray(path.read_bytes())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags_at] |= 1
            at = content.find(signature, at + 1)
    path.write_bytes(content)
    return path


def no_archive(folder: Path) -> Path:
    path = folder / "eyes.zip"
    path.write_bytes(photograph(0))
    return path


def a_folder(folder: Path) -> Path:
    (folder / "eyes.zip").mkdir()
    return folder / "eyes.zip"


def told(ended: Ended, *words: str, code: int = BAD_INPUT) -> None:
    """The run ended with `code`, no traceback, and one line at the end that holds the words and what to do, once."""
    assert ended.code == code
    assert "Traceback" not in ended.said + ended.out
    assert ended.out == ""
    assert ended.last.startswith("Bad input: " if code == BAD_INPUT else "Failed: ")
    assert "Remedy: " in ended.last
    assert ended.said.count("Remedy: ") == 1, "said in full once; the engine's own lines are short"
    assert "Finished in state Failed(" in ended.said or "Beginning flow run" not in ended.said
    for word in words:
        assert word in ended.last


def nothing_half_written(terminal: Terminal, *made: str) -> None:
    """No staging folder is left, and nothing but the kinds named was made."""
    assert [path for path in terminal.workspace.rglob("*") if ".partial" in path.name] == []
    assert terminal.made() == list(made)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ["There is no archive at", "check the path"]),
        (empty, ["is empty (0 bytes)", "fetch the archive again"]),
        (cut_zip, ["is damaged or was cut short", "fetch the archive again"]),
        (cut_tar, ["is damaged or was cut short", "fetch the archive again"]),
        (encrypted, ["is encrypted", "pack the files again without one"]),
        (no_archive, ["is a JPEG photograph", "pack the folder"]),
        (a_folder, ["is a folder", "pack the folder into a zip archive first"]),
    ],
)
def test_an_archive_that_cannot_be_read_is_one_sentence_and_leaves_nothing(
    make: Callable[[Path], Path], words: list[str], terminal: Terminal, tmp_path: Path
) -> None:
    archive = make(tmp_path)
    told(terminal.intake(archive), str(archive), *words)
    nothing_half_written(terminal)


def test_a_cycle_whose_archive_is_cut_short_plans_nothing(terminal: Terminal, tmp_path: Path) -> None:
    archive = cut_zip(tmp_path)
    told(terminal.cycle("--archive", str(archive)), str(archive), "cut short")
    nothing_half_written(terminal)
    assert not (terminal.workspace / "ledger.db").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"notes/readme.txt": b"no photographs", "notes/a.csv": b"a,b\n"}, ["no photographs", "1 .txt", "check what"]),
        (photographs(12, 0), ["normal", "both"]),
        (photographs(12, 2), ["too small to split by patient", "glaucoma 2", "add patients"]),
        ({f"a/{i}.jpg": photograph(i) for i in range(6)}, ["no known layout", "a/: 6 .jpg", "arrange the files"]),
        (photographs(4, 4) | {f"normal/bad{i}.jpg": b"no picture" for i in range(4)}, ["4 of 12", "bad0.jpg"]),
    ],
    ids=["without images", "one class", "too small", "no layout", "mostly unreadable"],
)  # fmt: skip
def test_an_archive_that_is_no_dataset_is_one_sentence_and_makes_no_dataset(
    files: Files, words: list[str], terminal: Terminal, tmp_path: Path
) -> None:
    told(terminal.intake(zipped(tmp_path / "eyes.zip", files)), *words)
    nothing_half_written(terminal, "archives")


def test_an_unreadable_photograph_is_set_aside_by_name_and_the_others_go_on(terminal: Terminal, tmp_path: Path) -> None:
    good = photographs(12, 12)
    archive = zipped(tmp_path / "eyes.zip", good | {"normal/broken.jpg": photograph(7)[:200]})
    ended = terminal.intake(archive, "--json")
    assert ended.code == DONE
    assert "Traceback" not in ended.said
    assert any("Set aside normal/broken.jpg" in line for line in ended.said.splitlines())
    stages = {stage["stage"]: stage for stage in json.loads(ended.out)["stages"]}
    for details in (stages["normalize"]["details"], dataset_record(terminal)["details"]):
        (aside,) = details["set_aside"]
        assert aside["source"] == "normal/broken.jpg"
        assert aside["reason"]
    assert stages["normalize"]["counts"]["images"] == len(good)
    assert stages["preprocess"]["counts"]["images"] == len(good)
    nothing_half_written(terminal, "archives", "datasets", "validations", "prepared")


def dataset_record(terminal: Terminal) -> dict[str, Any]:
    (path,) = terminal.workspace.glob("datasets/eyes/*/dataset.json")
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def test_an_unknown_setting_is_answered_with_the_nearest(terminal: Terminal) -> None:
    ended = terminal.cycle("--train.learningrate", "0.1")
    told(ended, "--train.learningrate", "the nearest: --train.learning-rate", "--help")
    assert ended.said.count("\n") == 1
    assert not terminal.workspace.exists()


def test_a_settings_file_with_broken_yaml_is_told_in_one_line(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {epochs: 5\nname: [\n")
    ended = terminal.cycle("--config", str(tmp_path / "c.yaml"))
    assert ended.code == BAD_INPUT
    assert ended.said.count("\n") == 1
    assert "c.yaml cannot be read" in ended.last
    assert not terminal.workspace.exists()


def test_a_cycle_without_archive_and_without_dataset_says_what_is_missing(terminal: Terminal) -> None:
    told(terminal.cycle(), "No prepared dataset eyes", "check the name")
    nothing_half_written(terminal)


@pytest.mark.parametrize(
    ("option", "name", "near"),
    [("--train.classifier", "lcnet_005", "lcnet_050"), ("--train.encoder", "resnet43", "resnet34")],
)
def test_a_cycle_with_an_unknown_model_names_the_nearest_before_any_work(
    option: str, name: str, near: str, terminal: Terminal, tmp_path: Path
) -> None:
    archive = zipped(tmp_path / "eyes.zip", photographs(4, 4))
    told(terminal.cycle("--archive", str(archive), option, name), repr(name), near)
    nothing_half_written(terminal)


def test_an_experiment_with_an_unknown_model_names_the_nearest_and_leaves_no_model(ready: Terminal) -> None:
    told(ready.experiment("--train.classifier", "lcnet_005"), "'lcnet_005'", "lcnet_050")
    assert list(ready.workspace.glob("experiments/*/checkpoints/*")) == []


def test_pretrained_weights_that_are_not_there_end_the_cycle_before_any_training(
    ready: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no-hub"))
    before = experiments(ready)
    ended = ready.cycle("--train.pretrained", "--train.classifier", "lcnet_050")
    told(ended, "No pretrained weights for 'lcnet_050'", str(ready.workspace / "weights"), "set pretrained to false")
    assert experiments(ready) == before
    assert not (ready.workspace / "cycles").exists()


def test_a_weights_file_that_is_not_there_ends_an_experiment_before_any_training(
    ready: Terminal, tmp_path: Path
) -> None:
    before = experiments(ready)
    told(ready.experiment("--train.pretrained", "--train.weights-path", str(tmp_path / "none.pth")), "none.pth")
    assert experiments(ready) == before


def experiments(terminal: Terminal) -> list[str]:
    return sorted(path.name for path in terminal.workspace.glob("experiments/*"))


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_too_little_disk_space_is_said_before_anything_is_written(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "eyes.zip", photographs(4, 4))
    monkeypatch.setattr("glaucoma.provenance.shutil.disk_usage", lambda _: _Usage(10**9, 10**9 - 1000, 1000))
    told(terminal.intake(archive), "kB free at", "eyes.zip", "free some space there", code=FAILED)
    nothing_half_written(terminal)


def test_too_little_disk_space_for_a_later_stage_leaves_the_earlier_ones_whole(
    ready: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ready.made(), sorted(ready.workspace.glob("prepared/eyes/*"))
    monkeypatch.setattr("glaucoma.provenance.shutil.disk_usage", lambda _: _Usage(10**9, 10**9 - 1000, 1000))
    archive = ready.workspace.parent / "eyes.zip"
    told(
        ready.intake(archive, "--preprocess.image-size-px", "128"),
        "kB free at",
        "free some space there",
        code=FAILED,
    )
    nothing_half_written(ready, *before[0])
    assert sorted(ready.workspace.glob("prepared/eyes/*")) == before[1]


def test_a_real_terminal_shows_the_sentence_last_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.intake", "--archive", str(cut_tar(tmp_path)), *INTAKE]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(
        [*command, "--workspace", str(tmp_path / "w")], env=environment, capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2], timeout=120,
    )  # fmt: skip
    told(Ended(done.returncode, done.stderr, done.stdout), "eyes.tar.gz is damaged or was cut short")
