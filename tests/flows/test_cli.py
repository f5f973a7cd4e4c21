"""The command line: what it takes, what it prints, and how it ends."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
from prefect.states import Failed

from flows import configs
from flows.cli import BAD_INPUT, DONE, ShortStates, main, parse
from flows.configs import (
    FlowConfig,
    IntakeConfig,
    OneExperimentConfig,
    ResearchCycleConfig,
    TrainConfig,
    UnpackConfig,
)
from flows.research_cycle import research_cycle
from flows.unpack import unpack
from glaucoma.datasets.split_errors import given_splits_leak
from glaucoma.errors import InputError
from glaucoma.schema import Preset, Split


@pytest.fixture(autouse=True)
def _program_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/flows/research_cycle.py"])


def test_options_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: mine\npreset: smoke\ntrain: {epochs: 5, batch_size: 4}\n")
    config, _ = parse(ResearchCycleConfig, ["--config", str(tmp_path / "c.yaml"), "--train.epochs", "7"])
    assert (config.name, config.preset) == ("mine", Preset.SMOKE)
    assert (config.train.epochs, config.train.batch_size) == (7, 4)
    assert config.train.classifier == "resnet10t"


def test_a_home_folder_is_expanded_wherever_a_path_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/reader")
    (tmp_path / "c.yaml").write_text("name: mine\narchive: ~/a.zip\nrules: ~/r.yaml\n")
    config, _ = parse(ResearchCycleConfig, ["--config", str(tmp_path / "c.yaml"), "--workspace=~/w"])
    assert [str(path) for path in (config.archive, config.rules, config.workspace)] == [
        "/home/reader/a.zip",
        "/home/reader/r.yaml",
        "/home/reader/w",
    ]
    form = IntakeConfig.model_validate({"name": "mine", "archive": "~/a.zip"})
    assert form.archive == Path("/home/reader/a.zip")


@pytest.mark.parametrize(
    ("task", "wrong", "right"),
    [
        ("segmentation", "weights_path", "segmentation_weights_path"),
        ("classification", "segmentation_weights_path", "weights_path"),
    ],
)
def test_weights_of_the_other_task_are_refused(task: str, wrong: str, right: str) -> None:
    with pytest.raises(
        InputError, match=f"train.{wrong} would have no effect on {task}: its weights are train.{right}"
    ):
        parse(TrainConfig, ["--name", "a", "--task", task, f"--train.{wrong.replace('_', '-')}", "x.pth"])


def test_the_same_model_reads_the_command_line_and_the_uis_form() -> None:
    config, as_json = parse(ResearchCycleConfig, ["--name", "a", "--preset", "smoke", "--json", "--no-registry.push"])
    assert as_json
    assert config == ResearchCycleConfig.model_validate({"name": "a", "preset": "smoke", "registry": {"push": False}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a", "--train.epoch", "3"], r"Unknown setting --train.epoch; the nearest: --train.epochs"),
        (["--name", "a", "surplus"], "Unknown setting surplus"),
        ([], "name: Field required"),
        (["--name", "A b"], "name: String should match pattern"),
        (["--name", "a", "--train.epochs", "0"], "train.epochs: Input should be greater than or equal to 1"),
        (["--name", "a", "--preset", "huge"], "preset: Input should be 'smoke', 'base' or 'large'"),
        (["--name", "a", "--config", "/not/there.yaml"], "settings file /not/there.yaml cannot be read"),
    ],
)
def test_wrong_settings_are_told_one_by_one(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(ResearchCycleConfig, arguments)


def test_an_unknown_key_in_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: mine\ntrain: {epohcs: 5}\n")
    with pytest.raises(InputError, match=r"train\.epohcs: Extra inputs are not permitted"):
        parse(ResearchCycleConfig, ["--config", str(tmp_path / "c.yaml")])


def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="holds a list"):
        parse(ResearchCycleConfig, ["--config", str(tmp_path / "c.yaml")])


def test_help_explains_every_setting_with_its_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(IntakeConfig, ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--preset {smoke,base,large}" in text
    assert "--preprocess.steps [..]" in text
    assert '{"kind":"centre_crop","share":0.1}' in "".join(text.split())
    assert "_Default" not in text


def flow_configs() -> list[type[FlowConfig]]:
    known = [value for value in vars(configs).values() if isinstance(value, type) and issubclass(value, FlowConfig)]
    return [one for one in known if one not in (FlowConfig, OneExperimentConfig)]


@pytest.mark.parametrize("config", flow_configs(), ids=lambda config: config.__name__)
def test_help_fits_80_columns_and_begins_with_what_must_be_given(
    config: type[FlowConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse(config, ["--help"])
    text = capsys.readouterr().out
    usage = text.split("\n\n")[0]
    assert len(usage.splitlines()) <= 2
    assert usage.endswith("[settings]")
    required = [name for name, field in config.model_fields.items() if field.is_required()]
    assert all(f"--{name} " in usage for name in required)
    too_long = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("  --")]
    assert too_long == []
    assert not re.search(r"default: (True|False|\()", text)


@pytest.mark.parametrize("config", flow_configs(), ids=lambda config: config.__name__)
def test_a_form_hides_no_word_and_overrides_no_preset(config: type[FlowConfig]) -> None:
    schema = config.model_json_schema()
    for model in [schema, *schema.get("$defs", {}).values()]:
        for name, field in model.get("properties", {}).items():
            assert "<" not in field.get("description", ""), f"{name}: a form takes <..> for a tag and hides it"
            assert not ("presets" in field and field.get("type") == "boolean"), f"{name}: a form would send off"
            assert "presets" not in field or field.get("default") is None, name


def test_the_option_that_a_leaks_error_names_splits_anew() -> None:
    said = str(given_splits_leak({"p": {"train": "a", "test": "b"}}, "ab", "pp", [Split.TRAIN, Split.TEST], []))
    (option,) = re.findall(r"--no-[\w.-]+", said)
    config, _ = parse(configs.NormalizeConfig, ["--name", "eyes", option])
    assert not config.normalize.split.keep_given


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Task run encountered an exception LayoutError: It's no 'a'.\n b. Remedy: c.", "LayoutError: It's no 'a'."),
        (
            "Flow run encountered an exception: ArchiveError: a.zip is empty. Remedy: 5 %s.",
            "ArchiveError: a.zip is empty.",
        ),
        ("Task run encountered an exception ValueError: not ours. Remedy: c.", "ValueError: not ours. Remedy: c."),
    ],
)
def test_the_engines_line_on_an_error_of_arc_is_short_on_the_terminal_alone(said: str, shown: str) -> None:
    line = f"Finished in state {Failed(message=said)}"
    record = logging.LogRecord("prefect", logging.ERROR, "", 0, line, (), None)
    short = ShortStates(logging.Formatter("%(message)s")).format(record)
    assert (
        short == f"Finished in state {Failed(message=said[: said.index('Error: ')].rpartition(' ')[0] + ' ' + shown)}"
    )
    assert record.getMessage() == line, "the same record goes to the server"


def test_json_is_one_object_on_stdout(archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--archive", str(archives / "folders.zip"), "--workspace", str(tmp_path), "--json"]
    assert main(unpack, UnpackConfig, arguments=arguments) == DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["stage"], found["reused"]) == ("unpack", False)
    assert found["counts"]["files"] > 0


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and then nothing", b"plain text, no archive"])
def test_a_bad_archive_is_one_line_exit_code_2_and_nothing_written(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "bad.zip"
    if content is not None:
        archive.write_bytes(content)
    workspace = tmp_path / "workspace"
    assert main(unpack, UnpackConfig, arguments=["--archive", str(archive), "--workspace", str(workspace)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("Bad input: ")
    assert "bad.zip" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert list(workspace.glob("archives/*")) == []


def test_an_unknown_model_is_refused_before_any_work(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--archive", str(archives / "folders.zip"), "--name", "a", "--workspace", str(tmp_path)]
    arguments += ["--preset", "smoke", "--train.classifier", "efficientnet_b33"]
    assert main(research_cycle, ResearchCycleConfig, arguments=arguments) == BAD_INPUT
    last = capsys.readouterr().err.splitlines()[-1]
    assert "'efficientnet_b33'" in last
    assert "efficientnet_b3" in last.replace("efficientnet_b33", "")
    assert not (tmp_path / "archives").exists()
