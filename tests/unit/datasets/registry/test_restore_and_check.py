"""Checking finds one flipped bit anywhere; restoring brings back every byte or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glaucoma.datasets.integrity import CheckPlace, check_registration, require_sound
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings
from glaucoma.datasets.restoring import restore_registration
from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.workspace import Workspace

Make = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]
Flip = Callable[[Path], None]
SETTINGS = RegisterSettings()
KEY, PREPARED_KEY = "0123456789abcdef", "aaaabbbbccccdddd"


def remote_objects(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.root / "dvc-remote" / "files").rglob("*") if p.is_file() and p.suffix != ".dir")


def test_one_flipped_bit_a_lost_and_a_new_file_are_named(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, flip_a_bit: Flip
) -> None:
    dataset = make_dataset()
    prepared = make_prepared(dataset)
    register(dataset, prepared, "tiny", workspace, SETTINGS)
    assert check_registration("tiny", None, workspace, CheckPlace.BOTH).sound
    flip_a_bit(dataset / "images" / "im003.png")
    (prepared / "images" / "im000.png").unlink()
    (dataset / "images" / "new.png").write_bytes(b"new")
    check = check_registration("tiny", KEY, workspace)
    found = check.workspace
    assert found is not None
    assert found.changed == (f"datasets/tiny/{KEY}/images/im003.png",)
    assert found.missing == (f"prepared/tiny/{PREPARED_KEY}/images/im000.png",)
    assert found.extra == (f"datasets/tiny/{KEY}/images/new.png",)
    with pytest.raises(IntegrityError, match=r"im003\.png.*Remedy: .*flows\.restore .*--replace-damaged"):
        require_sound(check)


def test_one_flipped_bit_in_the_remote_is_named_by_the_file_that_it_is_in(
    make_dataset: Make, workspace: Workspace, flip_a_bit: Flip, contents: Contents
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    victim = remote_objects(workspace)[3]
    (name,) = (file for file, content in contents(dataset).items() if content == victim.read_bytes())
    flip_a_bit(victim)
    check = check_registration("tiny", None, workspace, CheckPlace.REMOTE)
    assert check.workspace is None
    assert check.remote is not None
    assert check.remote.changed == (f"datasets/tiny/{KEY}/{name}",)
    with pytest.raises(IntegrityError, match=r"in the remote .*Remedy: .*flows\.register .*--registry\.push-again"):
        require_sound(check)
    shutil.rmtree(dataset)
    with pytest.raises(IntegrityError, match=name):
        restore_registration("tiny", None, workspace)
    assert [path for path in workspace.datasets("tiny").iterdir() if path.suffix != ".dvc"] == []


def test_a_lost_and_a_damaged_list_in_the_remote_are_found(
    make_dataset: Make, workspace: Workspace, flip_a_bit: Flip
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    (listed,) = (workspace.root / "dvc-remote").rglob("*.dir")
    flip_a_bit(listed)
    for _ in range(2):
        check = check_registration("tiny", None, workspace, CheckPlace.REMOTE)
        assert check.remote is not None
        assert "DVC's list of it" in check.remote.missing[0]
        listed.unlink(missing_ok=True)
    shutil.rmtree(dataset)
    with pytest.raises(IntegrityError, match="missing or damaged"):
        restore_registration("tiny", None, workspace)
    assert not dataset.exists()


def test_a_changed_list_of_sums_is_found_and_restoring_writes_it_again(
    make_dataset: Make, workspace: Workspace
) -> None:
    register(make_dataset(), None, "tiny", workspace, SETTINGS)
    sums = workspace.root / "registry" / "tiny" / f"{KEY}.sha256"
    before = sums.read_text()
    sums.write_text("".join(before.splitlines(keepends=True)[:-1]))
    with pytest.raises(IntegrityError, match="not the one that was registered"):
        check_registration("tiny", None, workspace)
    restore_registration("tiny", None, workspace)
    assert sums.read_text() == before
    assert check_registration("tiny", None, workspace).sound


@pytest.mark.parametrize("line", ["../../outside", "/etc/passwd", "datasets/tiny/{key}/../x", "datasets/other/x"])
def test_a_list_of_sums_that_names_files_elsewhere_is_refused(
    make_dataset: Make, workspace: Workspace, line: str
) -> None:
    register(make_dataset(), None, "tiny", workspace, SETTINGS)
    sums = workspace.root / "registry" / "tiny" / f"{KEY}.sha256"
    sums.write_text(f"{'0' * 64}  {line.format(key=KEY)}\n")
    with pytest.raises(IntegrityError, match="no file in"):
        check_registration("tiny", None, workspace)


def test_a_removed_version_comes_back_byte_by_byte_with_its_list_of_sums(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, contents: Contents
) -> None:
    dataset = make_dataset()
    prepared = make_prepared(dataset)
    before = contents(dataset), contents(prepared)
    register(dataset, prepared, "tiny", workspace, SETTINGS)
    for folder in (dataset, prepared, workspace.root / "registry", workspace.root / ".dvc"):
        shutil.rmtree(folder)
    done = restore_registration("tiny", None, workspace)
    assert done.restored == [dataset, prepared]
    assert (contents(dataset), contents(prepared)) == before
    assert check_registration("tiny", None, workspace, CheckPlace.BOTH).sound
    assert restore_registration("tiny", None, workspace).restored == []


def test_an_older_version_comes_back_and_does_not_become_the_newest(
    make_dataset: Make, workspace: Workspace, contents: Contents
) -> None:
    old = make_dataset()
    before = contents(old)
    register(old, None, "tiny", workspace, SETTINGS)
    new = make_dataset(key="9" * 16)
    register(new, None, "tiny", workspace, SETTINGS)
    shutil.rmtree(old)
    restore_registration("tiny", KEY, workspace)
    assert contents(old) == before
    assert workspace.find(workspace.datasets("tiny"), None, "dataset") == new


def test_a_version_that_was_never_pushed_comes_back_from_the_cache(
    make_dataset: Make, workspace: Workspace, contents: Contents
) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    register(dataset, None, "tiny", workspace, RegisterSettings(push=False))
    shutil.rmtree(dataset)
    restore_registration("tiny", None, workspace)
    assert contents(dataset) == before


def test_a_damaged_folder_is_replaced_only_on_request(
    make_dataset: Make, workspace: Workspace, flip_a_bit: Flip, contents: Contents
) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    register(dataset, None, "tiny", workspace, SETTINGS)
    flip_a_bit(dataset / "images" / "im003.png")
    assert restore_registration("tiny", None, workspace).restored == []
    assert contents(dataset) != before
    assert restore_registration("tiny", None, workspace, replace_damaged=True).restored == [dataset]
    assert contents(dataset) == before
    assert restore_registration("tiny", None, workspace, replace_damaged=True).restored == []
    assert sorted(p.name for p in workspace.datasets("tiny").iterdir()) == [KEY, f"{KEY}.dvc"]


def test_a_damaged_folder_stays_where_the_remote_is_damaged_too(
    make_dataset: Make, workspace: Workspace, flip_a_bit: Flip, contents: Contents
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    flip_a_bit(dataset / "images" / "im003.png")
    flip_a_bit(remote_objects(workspace)[0])
    before = contents(dataset)
    with pytest.raises(IntegrityError, match="damaged or incomplete"):
        restore_registration("tiny", None, workspace, replace_damaged=True)
    assert contents(dataset) == before


def test_a_replacement_that_was_cut_off_between_its_renames_loses_nothing(
    make_dataset: Make, workspace: Workspace, contents: Contents
) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    register(dataset, None, "tiny", workspace, SETTINGS)
    dataset.rename(dataset.with_name(f".{KEY}.gone"))
    shutil.rmtree(workspace.root / "dvc-remote")
    leftover = dataset.with_name(f".{KEY}.restored-{os.getpid()}")
    leftover.mkdir()
    assert restore_registration("tiny", None, workspace).restored == []
    assert contents(dataset) == before


def test_an_unknown_version_names_those_that_are_there(make_dataset: Make, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, RegisterSettings(push=False))
    with pytest.raises(NotFoundError, match=KEY):
        check_registration("tiny", "9" * 16, workspace)
    with pytest.raises(NotFoundError, match="none is registered; registered datasets: tiny"):
        restore_registration("other", None, workspace)
