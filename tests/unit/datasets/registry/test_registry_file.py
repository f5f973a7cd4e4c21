"""The registry's file, as if a stranger had written it; and what is said of its versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from glaucoma.datasets import registry
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings, read_registry
from glaucoma.datasets.versions import describe, list_versions
from glaucoma.errors import IntegrityError
from glaucoma.provenance import digest, file_sha256
from glaucoma.workspace import Workspace

Make = Callable[..., Path]
KEY, PREPARED_KEY = "0123456789abcdef", "aaaabbbbccccdddd"
QUIET = RegisterSettings(push=False)


def spoiled(workspace: Workspace, **changes: object) -> str:
    """The registry's text with one entry's fields changed."""
    plain = yaml.safe_load(workspace.registry.read_text())
    plain["tiny"][0] |= changes
    return yaml.safe_dump(plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "../../../etc"},
        {"prepared_key": "../x", "prepared_dvc_md5": "0" * 32 + ".dir"},
        {"prepared_key": "a" * 16},
        {"dvc_md5": "../../secret"},
        {"manifest_sha256": "zz"},
        {"files": -1},
        {"name": "other"},
        {"unknown": 1},
        {"registered_at": "yesterday"},
        {"sums_sha256": {"x": "y"}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_an_entry_that_no_registration_writes_is_refused_and_the_file_left_as_it_is(
    changes: dict[str, object], make_dataset: Make, workspace: Workspace
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, QUIET)
    text = spoiled(workspace, **changes)
    workspace.registry.write_text(text)
    with pytest.raises(IntegrityError, match="no valid registry"):
        register(dataset, None, "tiny", workspace, QUIET)
    assert workspace.registry.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "tiny: [{version: 1}]\n",
        "- a list\n",
        "../x: []\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "tiny: !!python/object/apply:os.system ['true']\n",
        "tiny: [" * 3000,
        "tiny: \x00\n",
        "tiny: 'open\n",
    ],
    ids=["entry", "list", "name", "aliases", "object", "deep", "nul", "open"],
)
def test_hostile_yaml_is_an_error_that_says_so(text: str, workspace: Workspace) -> None:
    workspace.registry.write_text(text)
    with pytest.raises(IntegrityError, match="no valid registry"):
        read_registry(workspace)


def test_bytes_that_are_no_text_and_a_file_too_large_are_errors(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.registry.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IntegrityError, match="no valid registry"):
        read_registry(workspace)
    monkeypatch.setattr(registry, "_LARGEST_BYTES", 10)
    workspace.registry.write_text("# a long comment\n")
    with pytest.raises(IntegrityError, match="larger than"):
        read_registry(workspace)


def test_an_entry_from_before_the_newer_fields_is_read(make_dataset: Make, workspace: Workspace) -> None:
    entry = register(make_dataset(), None, "tiny", workspace, QUIET)
    plain = yaml.safe_load(workspace.registry.read_text())
    for field in ("endpoint_url", "remote_block", "validation"):
        del plain["tiny"][0][field]
    workspace.registry.write_text(yaml.safe_dump(plain))
    assert read_registry(workspace)["tiny"] == [entry]


def test_all_versions_are_listed_by_name_oldest_first(make_dataset: Make, workspace: Workspace) -> None:
    assert list_versions(workspace) == []
    for name, key in (("tiny", KEY), ("eyes", "1" * 16), ("tiny", "9" * 16)):
        register(make_dataset(name, key), None, name, workspace, QUIET)
    (workspace.datasets("tiny") / KEY).rename(workspace.root / "away")
    listed = list_versions(workspace)
    assert [(one.name, one.version) for one in listed] == [("eyes", "1" * 16), ("tiny", KEY), ("tiny", "9" * 16)]
    assert [one.in_workspace for one in listed] == [True, False, True]


def test_one_version_is_described_with_places_lineage_and_validations(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, record_writer: Callable[..., None]
) -> None:
    files = [{"path": "a.png", "sha256": "1" * 64}]
    record_writer(workspace.archives / ("a" * 16) / "archive.json", "unpack", "a" * 16, {}, details={"files": files})
    record_writer(workspace.archives / ("b" * 16) / "archive.json", "unpack", "b" * 16, {}, details={"files": []})
    dataset = make_dataset()
    inputs = {"files": digest({"a.png": "1" * 64})}
    record_writer(dataset / "dataset.json", "normalize", KEY, inputs, counts={"images": 12})
    prepared = make_prepared(dataset)
    register(dataset, prepared, "tiny", workspace, QUIET)
    judged = {"dataset": KEY, "manifest_sha256": file_sha256(dataset / "manifest.csv")}
    path = workspace.validations("tiny") / ("c" * 16) / "validation.json"
    record_writer(path, "validate", "c" * 16, judged, counts={"critical": 0, "warnings": 2}, details={"passed": True})
    info = describe("tiny", None, workspace)
    assert {(step.stage, step.key) for step in info.lineage} == {
        ("unpack", "a" * 16),
        ("normalize", KEY),
        ("preprocess", PREPARED_KEY),
    }
    assert [place.folder for place in info.places] == [dataset, prepared]
    assert [place.files for place in info.places] == [14, 6]
    assert [(one.key, one.passed, one.warnings) for one in info.validations] == [("c" * 16, True, 2)]
    assert info.entry.validation is None


def test_a_damaged_record_or_list_of_sums_does_not_stop_a_description(make_dataset: Make, workspace: Workspace) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, QUIET)
    (dataset / "dataset.json").write_text("{")
    (workspace.root / "registry" / "tiny" / f"{KEY}.sha256").write_text("x")
    info = describe("tiny", None, workspace)
    assert info.lineage == []
    assert info.places[0].files is None
