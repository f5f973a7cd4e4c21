from __future__ import annotations

from pathlib import Path

import pytest

from glaucoma.errors import NotFoundError, SettingsError
from glaucoma.workspace import Workspace, checked_name


def test_the_workspace_comes_from_the_argument_then_the_environment_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARC_WORKSPACE", str(tmp_path / "env"))
    assert Workspace.at(tmp_path / "given").root == tmp_path / "given"
    assert Workspace.at().root == tmp_path / "env"
    monkeypatch.delenv("ARC_WORKSPACE")
    assert Workspace.at().root == tmp_path / "workspace"


def test_the_ledger_lies_in_the_workspace_or_where_its_url_says_and_the_password_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.at(tmp_path)
    assert workspace.ledger_url == f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("ARC_LEDGER_URL", "postgresql://arc:hidden@127.0.0.1:9/arc")
    assert workspace.ledger_url == "postgresql://arc:hidden@127.0.0.1:9/arc"
    assert "hidden" not in repr(workspace)


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        Workspace.at(tmp_path / "file")


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "A", "-x", "ä", "x" * 64, ".hidden", "a b"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot name a dataset"):
        Workspace.at(tmp_path).datasets(name)


def test_plain_names_are_taken() -> None:
    assert checked_name("rim-one_dl2") == "rim-one_dl2"


def test_find_gives_the_named_output_and_never_a_half_written_one(tmp_path: Path) -> None:
    (tmp_path / "abc").mkdir()
    (tmp_path / ".def.partial-1").mkdir()
    workspace = Workspace(tmp_path)
    assert workspace.find(tmp_path, "abc", "dataset").name == "abc"
    assert workspace.find(tmp_path, None, "dataset").name == "abc"
    with pytest.raises(NotFoundError, match="one of: abc"):
        workspace.find(tmp_path, "def", "dataset")
