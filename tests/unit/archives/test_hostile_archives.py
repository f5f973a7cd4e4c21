from __future__ import annotations

import re
from pathlib import Path

import pytest

from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack
from glaucoma.errors import ArchiveError
from glaucoma.workspace import Workspace
from tests.unit.archives.hostile import KINDS, Hostile


@pytest.mark.parametrize("hostile", [pytest.param(one, id=kind) for kind, one in KINDS.items()])
def test_a_hostile_archive_is_refused_by_name_and_reason_and_leaves_nothing(hostile: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(hostile.build())
    before = path.read_bytes()
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(ArchiveError) as caught:
        unpack(path, workspace, UnpackSettings(**hostile.settings))
    message = str(caught.value)
    assert re.search(hostile.said, message), message
    if hostile.member is not None:
        assert f"'{hostile.member}'" in message
    assert {found.name for found in tmp_path.iterdir()} <= {"archive", "workspace"}
    assert [found for found in workspace.root.rglob("*") if not found.is_dir() and ".locks" not in found.parts] == []
    assert not workspace.archives.exists() or list(workspace.archives.iterdir()) == []
    assert path.read_bytes() == before


def test_the_corpus_is_large() -> None:
    assert len(KINDS) >= 40
