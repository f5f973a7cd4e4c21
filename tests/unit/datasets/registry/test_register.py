"""Registering: all or nothing, once, and never over what was registered before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from glaucoma.datasets.integrity import CheckPlace, check_registration
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings, find_registration, read_registry
from glaucoma.datasets.remote import Remote
from glaucoma.errors import DatasetError, IntegrityError, NotFoundError, SettingsError, TransientError
from glaucoma.provenance import file_sha256
from glaucoma.workspace import Workspace

Make = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]
Flip = Callable[[Path], None]
SETTINGS = RegisterSettings()
KEY, PREPARED_KEY = "0123456789abcdef", "aaaabbbbccccdddd"


def remote_objects(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.root / "dvc-remote" / "files").rglob("*") if p.is_file() and p.suffix != ".dir")


def test_a_registered_version_is_in_the_registry_the_remote_and_the_sums(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, contents: Contents
) -> None:
    dataset = make_dataset()
    prepared = make_prepared(dataset)
    before = contents(dataset)
    entry = register(dataset, prepared, "tiny", workspace, SETTINGS)
    assert not entry.reused
    assert (entry.version, entry.prepared_key) == (KEY, PREPARED_KEY)
    assert entry.manifest_sha256 == file_sha256(dataset / "manifest.csv")
    assert entry.files == len(before) + len(contents(prepared))
    assert entry.source == {"files": "f" * 64}
    assert entry.validation is None
    assert len(remote_objects(workspace)) == len({*before.values(), *contents(prepared).values()})
    assert contents(dataset) == before
    assert find_registration("tiny", None, workspace) == entry
    plain = yaml.safe_load(workspace.registry.read_text())
    assert plain["tiny"][0]["version"] == KEY
    assert "reused" not in plain["tiny"][0]
    assert not (workspace.root / ".dvc" / "cache").exists()
    assert (workspace.root / ".dvc" / "site-cache").stat().st_mode & 0o077 == 0


def test_the_list_of_sums_is_one_that_sha256sum_checks(make_dataset: Make, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, SETTINGS)
    listed = f"registry/tiny/{KEY}.sha256"
    done = subprocess.run(["sha256sum", "--check", "--quiet", listed], cwd=workspace.root, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_same_version_again_is_found_at_once_and_changes_nothing(make_dataset: Make, workspace: Workspace) -> None:
    dataset = make_dataset()
    first = register(dataset, None, "tiny", workspace, SETTINGS)
    before = workspace.registry.read_bytes()
    started = time.monotonic()
    again = register(dataset, None, "tiny", workspace, SETTINGS)
    assert time.monotonic() - started < 1
    assert again.reused
    assert again == first.model_copy(update={"reused": True})
    assert workspace.registry.read_bytes() == before


def test_what_was_prepared_from_another_dataset_is_refused(
    make_dataset: Make, make_prepared: Make, workspace: Workspace
) -> None:
    dataset, other = make_dataset(), make_dataset(key="9" * 16)
    with pytest.raises(DatasetError, match=rf"prepared from dataset {'9' * 16}.*Expected: .*{KEY}"):
        register(dataset, make_prepared(other), "tiny", workspace, SETTINGS)
    assert not workspace.registry.exists()


def test_what_was_prepared_before_the_manifest_changed_is_refused(
    make_dataset: Make, make_prepared: Make, workspace: Workspace
) -> None:
    dataset = make_dataset()
    prepared = make_prepared(dataset)
    (dataset / "manifest.csv").write_text("image_id\nother\n")
    with pytest.raises(DatasetError, match="another manifest"):
        register(dataset, prepared, "tiny", workspace, SETTINGS)


def test_a_folder_elsewhere_or_without_its_record_is_refused(
    make_dataset: Make, workspace: Workspace, tmp_path: Path
) -> None:
    dataset = make_dataset()
    elsewhere = tmp_path / KEY
    shutil.copytree(dataset, elsewhere)
    with pytest.raises(NotFoundError, match="no finished dataset of this workspace"):
        register(elsewhere, None, "tiny", workspace, SETTINGS)
    (dataset / "dataset.json").unlink()
    with pytest.raises(NotFoundError, match=r"dataset\.json"):
        register(dataset, None, "tiny", workspace, SETTINGS)


def test_the_entry_says_how_the_version_was_judged(
    make_dataset: Make, workspace: Workspace, record_writer: Callable[..., None]
) -> None:
    dataset = make_dataset()
    inputs = {"dataset": KEY, "manifest_sha256": file_sha256(dataset / "manifest.csv")}
    for key, inputs_of, passed in (("1" * 16, inputs, False), ("2" * 16, inputs | {"dataset": "9" * 16}, True)):
        path = workspace.validations("tiny") / key / "validation.json"
        counts = {"critical": int(not passed), "warnings": 3}
        record_writer(path, "validate", key, inputs_of, counts=counts, details={"passed": passed})
    entry = register(dataset, None, "tiny", workspace, RegisterSettings(push=False))
    assert entry.validation is not None
    assert entry.validation.model_dump() == {
        "key": "1" * 16,
        "stage": "validate",
        "passed": False,
        "critical": 1,
        "warnings": 3,
    }


def test_a_folder_that_changed_since_it_was_registered_never_replaces_what_was_registered(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, flip_a_bit: Flip
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    before = workspace.registry.read_bytes()
    sums = workspace.root / "registry" / "tiny" / f"{KEY}.sha256"
    listed = sums.read_bytes()
    flip_a_bit(dataset / "images" / "im003.png")
    with pytest.raises(IntegrityError, match=r"changed since it was registered \(changed: .*im003\.png"):
        register(dataset, make_prepared(dataset), "tiny", workspace, SETTINGS)
    assert (workspace.registry.read_bytes(), sums.read_bytes()) == (before, listed)
    assert check_registration("tiny", None, workspace, CheckPlace.REMOTE).sound


def test_a_lost_list_of_sums_is_written_again_only_if_every_byte_is_as_registered(
    make_dataset: Make, workspace: Workspace, flip_a_bit: Flip, tmp_path: Path
) -> None:
    dataset, elsewhere = make_dataset(), tmp_path / "elsewhere"
    register(dataset, None, "tiny", workspace, RegisterSettings(remote_url=str(elsewhere)))
    sums = workspace.root / "registry" / "tiny" / f"{KEY}.sha256"
    before = sums.read_bytes()
    sums.unlink()
    register(dataset, None, "tiny", workspace, SETTINGS)
    assert sums.read_bytes() == before
    assert find_registration("tiny", None, workspace).remote == str(elsewhere)
    sums.unlink()
    flip_a_bit(dataset / "images" / "im003.png")
    with pytest.raises(IntegrityError, match="list of sums is damaged too"):
        register(dataset, None, "tiny", workspace, SETTINGS)
    assert not sums.exists()


def test_an_unreachable_remote_leaves_nothing_behind(
    make_dataset: Make, workspace: Workspace, contents: Contents
) -> None:
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
    make_dataset: Make, workspace: Workspace
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
    assert not (workspace.root / ".dvc" / "cache").exists()


def test_the_cache_stays_while_a_version_lies_nowhere_else(make_dataset: Make, workspace: Workspace) -> None:
    register(make_dataset(), None, "tiny", workspace, RegisterSettings(push=False))
    register(make_dataset(key="9" * 16), None, "tiny", workspace, SETTINGS)
    assert check_registration("tiny", KEY, workspace, CheckPlace.REMOTE).sound


def test_another_remote_gets_a_copy_and_the_entry_names_it(
    make_dataset: Make, workspace: Workspace, tmp_path: Path
) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    entry = register(dataset, None, "tiny", workspace, RegisterSettings(remote_url=str(tmp_path / "second")))
    assert entry.remote == str(tmp_path / "second")
    assert read_registry(workspace)["tiny"] == [entry]
    assert register(dataset, None, "tiny", workspace, SETTINGS).reused, "it is left where it lies"
    shutil.rmtree(workspace.root / "dvc-remote")
    assert check_registration("tiny", None, workspace, CheckPlace.REMOTE).sound


def test_pushing_again_mends_a_damaged_remote(make_dataset: Make, workspace: Workspace, flip_a_bit: Flip) -> None:
    dataset = make_dataset()
    register(dataset, None, "tiny", workspace, SETTINGS)
    damaged, lost, *_ = remote_objects(workspace)
    flip_a_bit(damaged)
    lost.unlink()
    found = check_registration("tiny", None, workspace, CheckPlace.BOTH)
    assert found.workspace is not None
    assert found.workspace.none
    assert found.remote is not None
    assert (len(found.remote.changed), len(found.remote.missing)) == (1, 1)
    register(dataset, None, "tiny", workspace, RegisterSettings(push_again=True))
    assert check_registration("tiny", None, workspace, CheckPlace.BOTH).sound
    assert len(read_registry(workspace)["tiny"]) == 1


@pytest.mark.parametrize(
    "url", ["https://anna:secret@example.org/data", "s3://anna@bucket/x", "ssh://u:secret@host/path"]
)
def test_a_password_in_the_remote_s_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match="remote_block") as raised:
        RegisterSettings(remote_url=url)
    assert "secret" not in str(raised.value)
    assert "anna" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://[a", None),
        ("s3://data", "http://[a"),
        ("s3://data", "http://minio_1:9000"),
        ("s3://data", "http://minio:90000000"),
        ("s3://data", "http://-a"),
    ],
)
def test_an_address_that_no_library_takes_is_refused_when_it_is_given(url: str, endpoint: str | None) -> None:
    with pytest.raises(SettingsError, match=r"no bucket|no address"):
        Remote(url, endpoint)


@pytest.mark.parametrize("endpoint", ["http://minio:9000", "https://s3.local.", "http://[::1]:9000", "http://10.0.0.7"])
def test_a_sound_endpoint_is_taken(endpoint: str) -> None:
    assert Remote("s3://data", endpoint).endpoint_url == endpoint


def test_a_remote_whose_package_is_not_installed_is_a_matter_of_settings(
    make_dataset: Make, workspace: Workspace
) -> None:
    with pytest.raises(SettingsError, match="requires 'dvc-gs'"):
        register(make_dataset(), None, "tiny", workspace, RegisterSettings(remote_url="gs://bucket/x"))
    assert not workspace.registry.exists()


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="Both"):
        RegisterSettings(remote_url="/a", remote_block="b")
    with pytest.raises(SettingsError, match="push_again"):
        RegisterSettings(push=False, push_again=True)


def test_dvc_s_own_settings_elsewhere_do_not_reach_into_the_workspace(
    make_dataset: Make, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other-cache"
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "config").write_text(f"[cache]\n    dir = {other}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    register(make_dataset(), None, "tiny", workspace, RegisterSettings(push=False))
    assert not other.exists()
    assert os.environ["DVC_GLOBAL_CONFIG_DIR"] == str(tmp_path / "global")


def test_nothing_is_written_outside_the_workspace_and_nothing_printed(
    make_dataset: Make, workspace: Workspace, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from glaucoma.workspace import Workspace\n"
        "from glaucoma.datasets.registering import register\n"
        "from glaucoma.datasets.registry import RegisterSettings\n"
        "register(Path(sys.argv[1]), None, 'tiny', Workspace.at(sys.argv[2]), RegisterSettings())\n"
    )
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    arguments = [sys.executable, "-W", "ignore", "-c", code, str(make_dataset()), str(workspace.root)]
    done = subprocess.run(arguments, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.iterdir()) == []


def test_an_address_that_may_hold_a_password_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="no absolute folder") as refusal:
        Remote("keeper:hidden@host:/data")
    assert "hidden" not in str(refusal.value)
