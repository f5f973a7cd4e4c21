from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from glaucoma.datasets.registry import (
    RegisterSettings,
    find_registration,
    read_registry,
    register,
    restore_registration,
    verify_registration,
)
from glaucoma.errors import IntegrityError, NotFoundError, TransientError
from glaucoma.provenance import file_sha256
from glaucoma.workspace import Workspace

MakeDataset = Callable[..., Path]
SETTINGS = RegisterSettings()


@pytest.fixture
def prepared(workspace: Workspace) -> Path:
    folder = workspace.prepared("tiny") / "aaaabbbbccccdddd"
    (folder / "images").mkdir(parents=True)
    (folder / "manifest.csv").write_text("image_id\nim000\n")
    (folder / "images" / "im000.png").write_bytes(b"picture")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_a_bit(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remote_objects(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.root / "dvc-remote").rglob("*") if p.is_file() and p.suffix != ".dir")


def test_a_registered_version_is_in_the_registry_the_remote_and_the_sums(
    make_dataset: MakeDataset, prepared: Path, workspace: Workspace
) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    entry = register(dataset, prepared, "tiny", workspace, SETTINGS)
    assert not entry.reused
    assert (entry.version, entry.prepared_key) == ("0123456789abcdef", "aaaabbbbccccdddd")
    assert entry.manifest_sha256 == file_sha256(dataset / "manifest.csv")
    assert entry.files == len(before) + 2
    assert entry.dvc_md5.endswith(".dir")
    assert entry.source == {"archive": "f" * 16}
    assert len(remote_objects(workspace)) == len(set(before.values())) + 2
    assert contents(dataset) == before
    assert find_registration("tiny", None, workspace) == entry
    plain = yaml.safe_load(workspace.registry.read_text())
    assert plain["tiny"][0]["version"] == "0123456789abcdef"
    assert "reused" not in plain["tiny"][0]


def test_the_list_of_sums_is_one_that_sha256sum_checks(make_dataset: MakeDataset, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, SETTINGS)
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum is not installed")
    sums = workspace.root / "registry" / "tiny" / "0123456789abcdef.sha256"
    done = subprocess.run([program, "--check", "--quiet", str(sums)], cwd=workspace.root, check=False)
    assert done.returncode == 0


def test_the_same_version_again_is_found_at_once_and_without_dvc(
    make_dataset: MakeDataset, prepared: Path, workspace: Workspace
) -> None:
    dataset = make_dataset()
    first = register(dataset, prepared, "tiny", workspace, SETTINGS)
    registry = workspace.registry.read_bytes()
    started = time.perf_counter()
    second = register(dataset, prepared, "tiny", workspace, SETTINGS)
    assert time.perf_counter() - started < 1
    assert second.reused
    assert second.model_copy(update={"reused": False}) == first
    assert workspace.registry.read_bytes() == registry
    code = (
        "import sys; from pathlib import Path; from glaucoma.workspace import Workspace\n"
        "from glaucoma.datasets.registry import *\n"
        "dataset, prepared, place = map(Path, sys.argv[1:])\n"
        "entry = register(dataset, prepared, 'tiny', Workspace.at(place), RegisterSettings())\n"
        "assert entry.reused and 'dvc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(dataset), str(prepared), str(workspace.root)], check=True)


def test_two_versions_stand_in_the_order_in_which_they_came(make_dataset: MakeDataset, workspace: Workspace) -> None:
    register(make_dataset(key="1" * 16), None, "tiny", workspace, SETTINGS)
    register(make_dataset(key="2" * 16), None, "tiny", workspace, SETTINGS)
    assert [entry.version for entry in read_registry(workspace)["tiny"]] == ["1" * 16, "2" * 16]
    assert find_registration("tiny", "1" * 16, workspace).version == "1" * 16
    assert find_registration("tiny", None, workspace).version == "2" * 16


def test_one_flipped_bit_is_found_and_its_file_named(
    make_dataset: MakeDataset, prepared: Path, workspace: Workspace
) -> None:
    dataset = make_dataset()
    register(dataset, prepared, "tiny", workspace, SETTINGS)
    assert verify_registration("tiny", None, workspace).none
    flip_a_bit(dataset / "images" / "im003.png")
    (prepared / "images" / "im000.png").unlink()
    (dataset / "images" / "new.png").write_bytes(b"new")
    found = verify_registration("tiny", "0123456789abcdef", workspace)
    assert found.changed == ("datasets/tiny/0123456789abcdef/images/im003.png",)
    assert found.missing == ("prepared/tiny/aaaabbbbccccdddd/images/im000.png",)
    assert found.extra == ("datasets/tiny/0123456789abcdef/images/new.png",)
    assert "im003.png" in str(found)


def test_a_changed_list_of_sums_is_found_too(make_dataset: MakeDataset, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, SETTINGS)
    sums = workspace.root / "registry" / "tiny" / "0123456789abcdef.sha256"
    lines = sums.read_text().splitlines()
    sums.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(IntegrityError, match="not the one that was registered"):
        verify_registration("tiny", None, workspace)


def test_a_removed_dataset_comes_back_byte_by_byte(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    register(dataset, None, "tiny", workspace, SETTINGS)
    shutil.rmtree(dataset)
    restore_registration("tiny", None, workspace, SETTINGS)
    assert contents(dataset) == before


def test_a_flipped_bit_in_the_remote_is_not_restored(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    shutil.rmtree(dataset)
    flip_a_bit(remote_objects(workspace)[0])
    with pytest.raises(IntegrityError, match="damaged or incomplete"):
        restore_registration("tiny", None, workspace, SETTINGS)
    assert not dataset.exists()


def test_an_unreachable_remote_leaves_nothing_behind(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    before = contents(dataset)
    blocked = workspace.root / "a-file"
    blocked.write_text("in the way")
    with pytest.raises(TransientError, match="push"):
        register(dataset, None, "tiny", workspace, RegisterSettings(remote_url=str(blocked / "remote")))
    assert not workspace.registry.exists()
    assert not list(workspace.datasets("tiny").glob("*.dvc"))
    assert not list((workspace.root / "registry").rglob("*.sha256"))
    assert contents(dataset) == before
    assert not register(dataset, None, "tiny", workspace, SETTINGS).reused


def test_without_push_nothing_is_in_the_remote_until_a_later_call_pushes(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    dataset = make_dataset()
    quiet = RegisterSettings(push=False)
    assert register(dataset, None, "tiny", workspace, quiet).remote is None
    assert register(dataset, None, "tiny", workspace, quiet).reused
    assert not (workspace.root / "dvc-remote").exists()
    assert (workspace.root / ".dvc" / "cache").exists()
    pushed = register(dataset, None, "tiny", workspace, SETTINGS)
    assert not pushed.reused
    assert pushed.remote == str(workspace.root / "dvc-remote")
    assert len(read_registry(workspace)["tiny"]) == 1
    assert remote_objects(workspace)


def test_two_at_once_make_one_entry(make_dataset: MakeDataset, workspace: Workspace) -> None:
    dataset = make_dataset()
    with ThreadPoolExecutor(2) as pool:
        entries = list(pool.map(lambda _: register(dataset, None, "tiny", workspace, SETTINGS), range(2)))
    assert sorted(entry.reused for entry in entries) == [False, True]
    assert len(read_registry(workspace)["tiny"]) == 1


def test_a_password_in_the_remote_s_url_is_not_written_down_for_readers(
    make_dataset: MakeDataset, workspace: Workspace
) -> None:
    from glaucoma.datasets.dvc_store import DvcStore
    from glaucoma.datasets.registry import _without_credentials

    url = "https://anna:secret@example.org/data"
    assert _without_credentials(url) == "https://example.org/data"
    assert _without_credentials("/srv/data") == "/srv/data"
    DvcStore(workspace.root, url)
    assert "secret" not in (workspace.root / ".dvc" / "config").read_text()
    assert (workspace.root / ".dvc" / "config.local").stat().st_mode & 0o077 == 0


def test_a_folder_elsewhere_is_refused(make_dataset: MakeDataset, workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = tmp_path / "0123456789abcdef"
    shutil.copytree(make_dataset(), elsewhere)
    with pytest.raises(NotFoundError, match="no finished dataset of this workspace"):
        register(elsewhere, None, "tiny", workspace, SETTINGS)


def test_an_unknown_version_names_those_that_are_there(make_dataset: MakeDataset, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, RegisterSettings(push=False))
    with pytest.raises(NotFoundError, match="0123456789abcdef"):
        verify_registration("tiny", "9" * 16, workspace)
    with pytest.raises(NotFoundError, match="none is registered"):
        verify_registration("other", None, workspace)


def test_a_damaged_registry_is_said_and_not_overwritten(make_dataset: MakeDataset, workspace: Workspace) -> None:
    workspace.registry.write_text("tiny: [{version: 1}]\n")
    with pytest.raises(IntegrityError, match="no valid registry"):
        register(make_dataset(), None, "tiny", workspace, SETTINGS)
    assert workspace.registry.read_text() == "tiny: [{version: 1}]\n"


def test_nothing_is_written_outside_the_workspace_and_nothing_printed(
    make_dataset: MakeDataset, workspace: Workspace, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from glaucoma.workspace import Workspace\n"
        "from glaucoma.datasets.registry import *\n"
        "register(Path(sys.argv[1]), None, 'tiny', Workspace.at(sys.argv[2]), RegisterSettings())\n"
    )
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    arguments = [sys.executable, "-W", "ignore", "-c", code, str(make_dataset()), str(workspace.root)]
    done = subprocess.run(arguments, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.iterdir()) == []
