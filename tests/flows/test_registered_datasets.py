"""Registering, listing, describing, checking and restoring as flows: their output, their artifacts, their errors."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import BaseModel, SecretStr

from blocks.dvc_remote import DvcRemote, remote_in_block
from flows.check_dataset import check_dataset
from flows.cli import BAD_INPUT, DONE, FAILED, main
from flows.configs import CheckDatasetConfig, DatasetInfoConfig, DatasetsConfig, RegisterConfig, RestoreConfig
from flows.dataset_info import dataset_info
from flows.datasets import datasets
from flows.register import register
from flows.restore import restore
from flows.results import show_check, show_dataset_info, show_datasets, show_restore
from glaucoma.datasets.remote import Remote
from glaucoma.errors import NotFoundError, SettingsError
from glaucoma.provenance import StageRecord, file_sha256, write_json
from glaucoma.workspace import Workspace

OLD, NEW, PREPARED = "0" * 15 + "1", "0" * 15 + "2", "a" * 16
SECRET = "Zk9-not-for-any-eye-Qx7"  # noqa: S105  of nothing


def finished_folder(folder: Path, stage: str, record: str, inputs: dict[str, str]) -> Path:
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / "images" / f"{number}.png").write_bytes(f"{folder.name} {number}".encode() * 50)
    (folder / "manifest.csv").write_text(f"image_id\n{folder.name}\n")
    made = StageRecord(
        stage=stage,
        key=folder.name,
        inputs=inputs,
        settings={},
        code_sha256="0" * 64,
        started_at=datetime(2026, 1, int(folder.name[-1], 16), tzinfo=UTC),
        duration_s=1.0,
        versions={},
        counts={"images": 3},
    )
    write_json(folder / record, made.model_dump(mode="json"))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two versions of `eyes`; something was prepared from the older one."""
    made = Workspace.at(tmp_path / "workspace")
    for key in (OLD, NEW):
        finished_folder(made.datasets("eyes") / key, "normalize", "dataset.json", {"files": "f" * 64})
    inputs = {"dataset": OLD, "manifest_sha256": file_sha256(made.datasets("eyes") / OLD / "manifest.csv")}
    finished_folder(made.prepared("eyes") / PREPARED, "preprocess", "prepared.json", inputs)
    return made


@pytest.fixture
def run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a flow's command; gives its exit code, stdout and the last line of stderr."""

    def command(flow: Any, config: type[BaseModel], *arguments: str, show: Any = None) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(flow, config, show=show, arguments=[*arguments, "--workspace", str(workspace.root)])  # type: ignore[arg-type]
        said = capsys.readouterr()
        return code, said.out, (said.err.strip().splitlines() or [""])[-1]

    return command


def artifact(key: str) -> str:
    """The data of the newest artifact of that key."""
    with get_client(sync_client=True) as client:
        answer = client.request("GET", "/artifacts/{key}/latest", path_params={"key": key})
    answer.raise_for_status()
    return str(answer.json()["data"])


def test_register_takes_what_was_prepared_from_that_dataset_and_refuses_anything_else(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = run(register, RegisterConfig, "--name", "eyes", "--dataset", OLD, "--json")
    assert (code, json.loads(out)["prepared_key"]) == (DONE, PREPARED)
    code, out, _ = run(register, RegisterConfig, "--name", "eyes", "--dataset", NEW, "--json")
    assert (code, json.loads(out)["prepared_key"]) == (DONE, None)
    code, _, last = run(register, RegisterConfig, "--name", "eyes", "--dataset", NEW, "--prepared", PREPARED)
    assert code == BAD_INPUT
    assert f"was prepared from dataset {OLD}" in last


def test_versions_are_listed_described_checked_and_restored(
    run: Callable[..., tuple[int, str, str]], workspace: Workspace
) -> None:
    code, out, _ = run(datasets, DatasetsConfig, show=show_datasets)
    assert (code, out) == (DONE, f"Nothing is registered in {workspace.registry}\n")
    for key in (OLD, NEW):
        run(register, RegisterConfig, "--name", "eyes", "--dataset", key)

    code, out, _ = run(datasets, DatasetsConfig, "--json")
    assert [one["version"] for one in json.loads(out)["versions"]] == [OLD, NEW]
    assert NEW in artifact("datasets")
    code, out, _ = run(datasets, DatasetsConfig, show=show_datasets)
    assert f"eyes  {OLD}" in out
    assert "10 files" in out

    code, out, _ = run(dataset_info, DatasetInfoConfig, "--name", "eyes", "--version", OLD, show=show_dataset_info)
    assert code == DONE
    assert f"made by preprocess {PREPARED}: 3 images" in out
    assert f"`{OLD}`" in artifact("dataset-info-eyes")

    code, out, _ = run(check_dataset, CheckDatasetConfig, "--name", "eyes", "--place", "both", show=show_check)
    assert (code, out.splitlines()[0]) == (DONE, f"eyes version {NEW}: 10 files read, all as registered")

    shutil.rmtree(workspace.datasets("eyes") / OLD)
    code, out, _ = run(restore, RestoreConfig, "--name", "eyes", "--version", OLD, show=show_restore)
    assert code == DONE
    assert f"restored: {workspace.datasets('eyes') / OLD}" in out
    assert f"was there: {workspace.prepared('eyes') / PREPARED}" in out


def test_a_flipped_bit_fails_the_check_names_the_file_and_the_command_that_mends_it(
    run: Callable[..., tuple[int, str, str]], workspace: Workspace
) -> None:
    run(register, RegisterConfig, "--name", "eyes", "--dataset", NEW)
    victim = workspace.datasets("eyes") / NEW / "images" / "1.png"
    content = victim.read_bytes()
    victim.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    code, _, last = run(check_dataset, CheckDatasetConfig, "--name", "eyes")
    assert code == FAILED
    assert f"changed: datasets/eyes/{NEW}/images/1.png" in last
    assert "images/1.png" in artifact("integrity-eyes")
    options = ["--name", "eyes", "--version", NEW, "--replace-damaged"]
    assert " ".join(options) in last
    assert run(restore, RestoreConfig, *options)[0] == DONE
    assert run(check_dataset, CheckDatasetConfig, "--name", "eyes")[0] == DONE


def test_a_version_remembers_its_block_and_is_restored_through_it(
    run: Callable[..., tuple[int, str, str]], workspace: Workspace, tmp_path: Path
) -> None:
    saved(DvcRemote(url=str(tmp_path / "remote")), "shelf")
    options = ["--name", "eyes", "--dataset", NEW, "--registry.remote-block", "shelf"]
    code, out, _ = run(register, RegisterConfig, *options, "--json")
    assert (code, json.loads(out)["remote_block"]) == (DONE, "shelf")
    assert list((tmp_path / "remote").rglob("*.dir"))
    (lost, *_) = (path for path in (tmp_path / "remote").rglob("*") if path.is_file() and path.suffix != ".dir")
    lost.unlink()
    code, _, last = run(check_dataset, CheckDatasetConfig, "--name", "eyes", "--place", "remote")
    assert code == FAILED
    assert "--registry.remote-block shelf --registry.push-again" in last
    again = ["--name", "eyes", "--dataset", NEW, "--registry.push-again"]
    code, out, _ = run(register, RegisterConfig, *again, "--json")
    assert (code, json.loads(out)["remote_block"]) == (DONE, "shelf")
    shutil.rmtree(workspace.datasets("eyes") / NEW)
    (tmp_path / "remote").rename(tmp_path / "moved")
    saved(DvcRemote(url=str(tmp_path / "moved")), "shelf")
    assert run(restore, RestoreConfig, "--name", "eyes")[0] == DONE
    assert run(check_dataset, CheckDatasetConfig, "--name", "eyes", "--place", "both")[0] == DONE


def test_a_new_prepared_form_goes_where_its_dataset_is_kept(
    run: Callable[..., tuple[int, str, str]], workspace: Workspace, tmp_path: Path
) -> None:
    saved(DvcRemote(url=str(tmp_path / "remote")), "shelf")
    away = workspace.prepared("eyes").rename(tmp_path / "prepared-later")
    options = ["--name", "eyes", "--dataset", OLD, "--json"]
    code, out, _ = run(register, RegisterConfig, *options, "--registry.remote-block", "shelf")
    assert (code, json.loads(out)["prepared_key"]) == (DONE, None)
    away.rename(workspace.prepared("eyes"))
    code, out, _ = run(register, RegisterConfig, *options)
    entry = json.loads(out)
    assert (code, entry["prepared_key"], entry["remote_block"]) == (DONE, PREPARED, "shelf")
    assert entry["remote"] == str(tmp_path / "remote")
    assert not (workspace.root / "dvc-remote").exists()
    run(register, RegisterConfig, "--name", "eyes", "--dataset", NEW, "--json")
    assert (workspace.root / "dvc-remote").is_dir(), "a version that lies nowhere yet"


def test_a_block_that_is_not_there_is_told_before_any_work(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, last = run(register, RegisterConfig, "--name", "eyes", "--registry.remote-block", "none-such")
    assert code == BAD_INPUT
    assert "No block dvc-remote/none-such" in last


def test_a_password_in_the_address_is_refused_and_not_repeated(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _, last = run(register, RegisterConfig, "--name", "eyes", "--registry.remote-url", "ssh://anna:hidden@host/x")
    assert code == BAD_INPUT
    assert "hidden" not in last
    pattern = RegisterConfig.model_json_schema()["$defs"]["RegisterSettings"]["properties"]["remote_url"]["pattern"]
    import re

    assert re.match(pattern, "s3://bucket/x")
    assert re.match(pattern, "/srv/a@b")
    assert not re.match(pattern, "ssh://anna:hidden@host/x")


def test_a_blocks_keys_come_back_for_flows_and_are_hidden_from_everyone_else() -> None:
    block = DvcRemote(
        url="s3://bucket/arc",
        endpoint_url="http://127.0.0.1:9",
        access_key_id=SecretStr("AKIDEXAMPLE"),
        secret_access_key=SecretStr(SECRET),
    )
    assert SECRET not in repr(block)
    saved(block, "guarded")
    assert remote_in_block("guarded") == Remote("s3://bucket/arc", "http://127.0.0.1:9", None, "AKIDEXAMPLE", SECRET)

    async def stored() -> str:
        async with get_client() as client:
            return str(await client.read_block_document_by_name("guarded", "dvc-remote", include_secrets=False))

    assert SECRET not in asyncio.run(stored())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "s3://u:p@bucket/x"}, "user or a password"),
        ({"url": "a/relative/folder"}, "no absolute folder"),
        ({"url": "s3://"}, "names no bucket"),
        ({"url": "/a/folder", "region": "r"}, "with s3:// only"),
        ({"url": "s3://bucket", "access_key_id": SecretStr("half")}, "one half of a pair"),
        ({"url": "s3://bucket", "endpoint_url": "host:9000"}, "no address"),
        ({"url": "s3://bucket", "endpoint_url": "http://u:p@host"}, "user or a password"),
        ({"url": "/a\nb"}, "control characters"),
    ],
)
def test_a_block_whose_fields_do_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DvcRemote(**fields)


def test_a_block_of_another_type_is_no_remote() -> None:
    with pytest.raises(NotFoundError):
        remote_in_block("default")


def saved(block: DvcRemote, name: str) -> None:
    outcome = block.save(name, overwrite=True)
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)
