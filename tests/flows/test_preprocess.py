"""The chain of steps as the form, the command line and a YAML file give it to the flow."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, is_valid_schema, validate

from flows.cli import BAD_INPUT, DONE, main, parse
from flows.configs import PreprocessConfig
from flows.preprocess import preprocess
from glaucoma.archives.unpack import unpack
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.normalize import normalize
from glaucoma.errors import InputError
from glaucoma.preprocessing.settings import DEFAULT_STEPS, Clahe, DiscCrop, Resize
from glaucoma.schema import GeometryColumn
from glaucoma.workspace import Workspace

AROUND_DISC = [{"kind": "disc_crop", "side_disc_diameters": 3.0}, {"kind": "resize"}]


@pytest.fixture(autouse=True)
def _program_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/flows/preprocess.py"])


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    """The schema that the server keeps of the flow, from which the form is made and against which it checks."""
    schema: dict[str, Any] = parameter_schema(preprocess).model_dump_for_openapi()
    is_valid_schema(schema)
    return schema


def check(form: dict[str, Any], steps: object) -> None:
    validate({"config": {"name": "eyes", "preprocess": {"steps": steps}}}, form, raise_on_error=True)


def test_the_form_shows_the_default_chain_and_takes_it_back(form: dict[str, Any]) -> None:
    default = form["definitions"]["PreprocessSettings"]["properties"]["steps"]["default"]
    assert default == [step.model_dump(mode="json") for step in DEFAULT_STEPS]
    check(form, default)


def test_the_form_offers_every_kind_with_its_own_settings(form: dict[str, Any]) -> None:
    items = form["definitions"]["PreprocessSettings"]["properties"]["steps"]["items"]
    kinds = items["discriminator"]["mapping"]
    assert list(kinds) == sorted(kinds)
    assert set(kinds) == {"field_crop", "centre_crop", "disc_crop", "resize", "clahe", "normalise"}
    for reference in kinds.values():
        model = form["definitions"][reference.rsplit("/", 1)[1]]
        assert model["description"]
        assert all(field.get("description") for name, field in model["properties"].items() if name != "kind")


@pytest.mark.parametrize("steps", [AROUND_DISC, [{"kind": "clahe", "tiles": 4}, {"kind": "resize"}]])
def test_the_server_takes_a_chain_of_any_kinds(form: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    check(form, steps)


@pytest.mark.parametrize("steps", ["resize", [{"kind": "blur"}], [{"kind": "clahe", "tiles": 0}], [{"tiles": 4}]])
def test_the_server_refuses_what_is_no_chain(form: dict[str, Any], steps: object) -> None:
    with pytest.raises(ValidationError):
        check(form, steps)


def test_command_line_and_file_give_the_same_chain(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "name: eyes\npreprocess:\n  steps:\n  - kind: disc_crop\n    side_disc_diameters: 3.0\n  - kind: resize\n"
    )
    in_file, _ = parse(PreprocessConfig, ["--config", str(tmp_path / "c.yaml")])
    typed, _ = parse(PreprocessConfig, ["--name", "eyes", "--preprocess.steps", json.dumps(AROUND_DISC)])
    assert in_file.preprocess.steps == typed.preprocess.steps == (DiscCrop(side_disc_diameters=3.0), Resize())
    one_by_one, _ = parse(
        PreprocessConfig,
        ["--name", "eyes", "--preprocess.steps", '{"kind":"clahe"}', "--preprocess.steps", '{"kind":"resize"}'],
    )
    assert one_by_one.preprocess.steps == (Clahe(), Resize())


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ('[{"kind":', "Parsing error encountered for preprocess.steps"),
        ('[{"kind":"blur"}]', r"preprocess\.steps\.0: Input tag 'blur'"),
        ('[{"kind":"clahe","tiles":99},{"kind":"resize"}]', r"preprocess\.steps\.0\.clahe\.tiles: .* \(found 99\)"),
        ('[{"kind":"resize"},{"kind":"field_crop"}]', "field_crop stands after resize"),
        ("[]", "the chain has no resize"),
    ],
)
def test_a_wrong_chain_is_told_in_one_line(typed: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(PreprocessConfig, ["--name", "eyes", "--preprocess.steps", typed])


def test_the_flow_runs_the_chain_and_refuses_an_unknown_experiment(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.at(tmp_path)
    normalize(unpack(archives / "masks.zip", workspace), "eyes", workspace)
    common = ["--name", "eyes", "--workspace", str(tmp_path), "--preprocess.image-size-px", "64", "--json"]
    assert (
        main(preprocess, PreprocessConfig, arguments=[*common, "--preprocess.steps", json.dumps(AROUND_DISC)]) == DONE
    )
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    assert (read_manifest(folder)[GeometryColumn.CROP_WIDTH_PX] < 200).all()

    unknown = json.dumps([{"kind": "disc_crop", "experiment": "seg-none-12345678"}, {"kind": "resize"}])
    assert main(preprocess, PreprocessConfig, arguments=[*common, "--preprocess.steps", unknown]) == BAD_INPUT
    assert "seg-none-12345678" in capsys.readouterr().err.splitlines()[-1]
