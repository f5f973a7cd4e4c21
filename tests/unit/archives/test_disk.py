from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from glaucoma.archives.disk import full_disk_named, require_space
from glaucoma.errors import DiskSpaceError


def test_too_little_space_is_said_of_the_final_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1200))
    with pytest.raises(DiskSpaceError, match=r"^1\.2 kB free at /the/workspace.*at least 2\.2 kB for the files"):
        require_space(tmp_path / ".hidden", 2000, "the files", Path("/the/workspace"))
    require_space(tmp_path, 1000, "the files", tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_was_going_on(code: int, tmp_path: Path) -> None:
    with (
        pytest.raises(DiskSpaceError, match=f"{tmp_path} filled up while unpacking a.zip"),
        full_disk_named(tmp_path, "unpacking a.zip"),
    ):
        raise OSError(code, os.strerror(code))


def test_other_errors_of_the_disk_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), full_disk_named(tmp_path, "unpacking"):
        raise PermissionError(errno.EACCES, "no")
