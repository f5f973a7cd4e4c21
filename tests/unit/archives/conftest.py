from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from glaucoma.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    def make(files: Mapping[str, bytes], name: str = "a.zip", compression: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for member, content in files.items():
                archive.writestr(zipfile.ZipInfo(member), content, compression)
        return path

    return make


@pytest.fixture
def make_tar(tmp_path: Path) -> Callable[..., Path]:
    def make(members: Mapping[str, bytes | tarfile.TarInfo], name: str = "a.tar", mode: str = "w") -> Path:
        path = tmp_path / name
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member, content in members.items():
                if isinstance(content, tarfile.TarInfo):
                    archive.addfile(content)
                    continue
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return make
