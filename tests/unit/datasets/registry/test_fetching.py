"""Prepared datasets by key, from a folder as the remote: what is damaged on the way is not taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glaucoma.datasets import restoring
from glaucoma.datasets.fetching import fetch_prepared
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings, read_registry
from glaucoma.datasets.remote import Remote
from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.workspace import Workspace

Make = Callable[..., Path]


@pytest.fixture
def remote(make_dataset: Make, make_prepared: Make, workspace: Workspace, tmp_path: Path) -> Remote:
    made = Remote(str(tmp_path / "remote"))
    dataset = make_dataset(files=3)
    register(dataset, make_prepared(dataset), "tiny", workspace, RegisterSettings(), remote=made)
    return made


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "other")


KEY = "aaaabbbbccccdddd"


def entry_path(remote: Remote, key: str = KEY) -> Path:
    return Path(remote.url) / "arc" / "registry" / "tiny" / f"{key}.json"


def test_it_is_fetched_once_and_then_found(remote: Remote, other: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch_prepared("tiny", KEY, other, remote=remote)
    monkeypatch.setattr(restoring, "_bring", None)
    assert fetch_prepared("tiny", KEY, other, remote=remote) == folder
    assert len(read_registry(other)["tiny"]) == 1


def test_without_a_remote_a_workspace_fetches_what_its_own_registry_names(remote: Remote, workspace: Workspace) -> None:
    folder = workspace.prepared("tiny") / KEY
    folder.rename(workspace.root / "aside")
    assert fetch_prepared("tiny", KEY, workspace) == folder
    with pytest.raises(NotFoundError, match="none is named"):
        fetch_prepared("tiny", "f" * 16, workspace)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"prepared_key": "f" * 16},
        {"files": -1},
        {"sums_sha256": {"registry/tiny/aaaabbbbccccdddd.sha256": "0" * 64}},
    ],
)
def test_an_entry_that_is_not_what_it_says_brings_nothing(
    change: dict[str, object], remote: Remote, other: Workspace
) -> None:
    path = entry_path(remote)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(IntegrityError):
        fetch_prepared("tiny", KEY, other, remote=remote)
    assert not (other.prepared("tiny") / KEY).exists()


def test_a_damaged_object_is_not_taken(remote: Remote, other: Workspace) -> None:
    for path in (Path(remote.url) / "files").rglob("*"):
        if path.is_file() and not path.name.endswith(".dir"):
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="damaged"):
        fetch_prepared("tiny", KEY, other, remote=remote)
    assert list(other.prepared("tiny").glob("*")) == []
