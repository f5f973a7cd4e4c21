"""A remote on an S3-compatible service, which runs on this machine."""

from __future__ import annotations

import shutil
import socket
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glaucoma.datasets import remote_objects
from glaucoma.datasets.fetching import fetch_prepared
from glaucoma.datasets.integrity import CheckPlace, check_registration
from glaucoma.datasets.registering import register
from glaucoma.datasets.registry import RegisterSettings, read_registry
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.restoring import restore_registration
from glaucoma.errors import IntegrityError, NotFoundError, SettingsError, TransientError
from glaucoma.workspace import Workspace

Make = Callable[..., Path]
Contents = Callable[[Path], dict[str, bytes]]
SETTINGS = RegisterSettings(remote_block="hospital")
KEY = "0123456789abcdef"
NOWHERE = Remote("s3://bucket/arc", "http://127.0.0.1:9", "us-east-1", "AKIDEXAMPLE", "secret")
SECRET = "Zk9-not-for-any-eye-Qx7"  # noqa: S105  of nothing


class Service:
    """The S3 service, asked past the code under test."""

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self.client: Any = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key=SECRET
        )

    def fresh_bucket(self, name: str) -> Remote:
        self.client.create_bucket(Bucket=name)
        return Remote(f"s3://{name}/arc", self.url, "us-east-1", "AKIDEXAMPLE", SECRET)

    def objects(self, bucket: str) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return {
            one["Key"]: self.client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            for one in listed
            if not one["Key"].endswith((".dir", ".json"))
        }


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield Service(f"http://{host}:{port}")
        server.stop()


def everything_written(workspace: Workspace) -> bytes:
    return b"".join(p.read_bytes() for p in workspace.root.rglob("*") if p.is_file())


def test_a_version_goes_to_s3_and_comes_back_byte_by_byte_and_the_keys_stay_in_no_file(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, service: Service, contents: Contents
) -> None:
    remote = service.fresh_bucket("there-and-back")
    dataset = make_dataset(files=4)
    prepared = make_prepared(dataset)
    before = contents(dataset), contents(prepared)
    entry = register(dataset, prepared, "tiny", workspace, SETTINGS, remote=remote)
    assert (entry.remote, entry.endpoint_url, entry.remote_block) == (remote.url, service.url, "hospital")
    assert set(service.objects("there-and-back").values()) == {*before[0].values(), *before[1].values()}
    assert register(dataset, prepared, "tiny", workspace, SETTINGS, remote=remote).reused
    for folder in (dataset, prepared, workspace.root / "registry"):
        shutil.rmtree(folder)
    restore_registration("tiny", None, workspace, remote=remote)
    assert (contents(dataset), contents(prepared)) == before
    check = check_registration("tiny", None, workspace, CheckPlace.BOTH, remote=remote)
    assert check.sound
    assert check.files == 2 * entry.files
    written = everything_written(workspace)
    assert SECRET.encode() not in written
    assert b"AKIDEXAMPLE" not in written
    assert SECRET not in repr(remote) + str(remote)


def test_a_prepared_dataset_comes_by_its_key_into_a_workspace_that_never_heard_of_it(
    make_dataset: Make, make_prepared: Make, workspace: Workspace, service: Service, contents: Contents, tmp_path: Path
) -> None:
    remote = service.fresh_bucket("elsewhere")
    prepared = make_prepared(make_dataset(files=4))
    register(prepared.parents[2] / "datasets" / "tiny" / KEY, prepared, "tiny", workspace, SETTINGS, remote=remote)
    other = Workspace.at(tmp_path / "other")
    with ThreadPoolExecutor(2) as both:
        waiting = [
            both.submit(fetch_prepared, "tiny", prepared.name, other, remote=remote, remote_block="hospital")
            for _ in range(2)
        ]
        assert {one.result() for one in waiting} == {other.prepared("tiny") / prepared.name}
    assert contents(other.prepared("tiny") / prepared.name) == contents(prepared)
    assert not other.datasets("tiny").exists(), "what training reads is enough"
    (entry,) = read_registry(other)["tiny"]
    assert (entry.prepared_key, entry.remote, entry.remote_block) == (prepared.name, remote.url, "hospital")
    with pytest.raises(NotFoundError, match=r"tiny ffff.*ARC_REMOTE_BLOCK"):
        fetch_prepared("tiny", "f" * 16, other, remote=remote)
    assert SECRET.encode() not in everything_written(other)


def test_one_flipped_bit_and_a_lost_object_in_s3_are_found_not_restored_and_mended_by_pushing_again(
    make_dataset: Make, workspace: Workspace, service: Service, contents: Contents
) -> None:
    remote = service.fresh_bucket("flipped")
    dataset = make_dataset(files=4)
    register(dataset, None, "tiny", workspace, SETTINGS, remote=remote)
    (key, content), (lost, _), *_ = service.objects("flipped").items()
    (name,) = (file for file, value in contents(dataset).items() if value == content)
    service.client.put_object(Bucket="flipped", Key=key, Body=bytes([content[0] ^ 1]) + content[1:])
    service.client.delete_object(Bucket="flipped", Key=lost)
    found = check_registration("tiny", None, workspace, CheckPlace.REMOTE, remote=remote).remote
    assert found is not None
    assert found.changed == (f"datasets/tiny/{KEY}/{name}",)
    assert len(found.missing) == 1
    aside = dataset.rename(workspace.root / "aside")
    with pytest.raises(IntegrityError, match=name):
        restore_registration("tiny", None, workspace, remote=remote)
    assert not dataset.exists()
    aside.rename(dataset)
    register(dataset, None, "tiny", workspace, RegisterSettings(remote_block="b", push_again=True), remote=remote)
    assert check_registration("tiny", None, workspace, CheckPlace.BOTH, remote=remote).sound


def test_the_same_address_at_another_endpoint_gets_all_bytes_whatever_dvc_remembers_of_the_first(
    make_dataset: Make, workspace: Workspace, service: Service
) -> None:
    remote = service.fresh_bucket("twice")
    dataset = make_dataset(files=4)
    register(dataset, None, "tiny", workspace, SETTINGS, remote=remote)
    for one in service.client.list_objects_v2(Bucket="twice")["Contents"]:  # as empty as another service would be
        service.client.delete_object(Bucket="twice", Key=one["Key"])
    second = replace(remote, endpoint_url=service.url.replace("127.0.0.1", "localhost"))
    entry = register(dataset, None, "tiny", workspace, SETTINGS, remote=second)
    assert entry.endpoint_url == second.endpoint_url
    assert check_registration("tiny", None, workspace, CheckPlace.REMOTE, remote=second).sound


def left_as_it_was(workspace: Workspace) -> bool:
    return not workspace.registry.exists() and not list(workspace.root.glob("datasets/*/*.dvc"))


def test_a_bucket_that_is_not_there_is_a_matter_of_settings(
    make_dataset: Make, workspace: Workspace, service: Service
) -> None:
    remote = replace(service.fresh_bucket("here"), url="s3://not-here/arc")
    with pytest.raises(SettingsError, match=r"not-here.*NoSuchBucket"):
        register(make_dataset(files=4), None, "tiny", workspace, SETTINGS, remote=remote)
    assert left_as_it_was(workspace)


def test_keys_that_are_refused_are_a_matter_of_settings_and_are_not_repeated(
    make_dataset: Make, workspace: Workspace, service: Service
) -> None:
    remote = service.fresh_bucket("guarded")
    dataset = make_dataset(files=4)
    register(dataset, None, "tiny", workspace, SETTINGS, remote=remote)
    check_keys(service, after_requests=0)
    try:
        for attempt in (
            lambda: register(dataset, None, "tiny", workspace, RegisterSettings(push_again=True), remote=remote),
            lambda: check_registration("tiny", None, workspace, CheckPlace.REMOTE, remote=remote),
        ):
            with pytest.raises(SettingsError, match=r"guarded.*Remedy") as raised:
                attempt()
            assert SECRET not in str(raised.value)
            assert "AKIDEXAMPLE" not in str(raised.value)
            assert raised.value.__suppress_context__
    finally:
        check_keys(service, after_requests=10**9)


def test_keys_that_are_refused_in_the_middle_of_a_push_are_told_too(
    make_dataset: Make, workspace: Workspace, service: Service
) -> None:
    remote = service.fresh_bucket("halfway")
    check_keys(service, after_requests=6)
    try:
        with pytest.raises(SettingsError, match="push") as raised:
            register(make_dataset(files=4), None, "tiny", workspace, SETTINGS, remote=remote)
    finally:
        check_keys(service, after_requests=10**9)
    assert "AKIDEXAMPLE" not in str(raised.value)
    assert left_as_it_was(workspace)


def check_keys(service: Service, after_requests: int) -> None:
    """The service lets this many requests pass, and then refuses keys that it does not know."""
    request = urllib.request.Request(  # noqa: S310  our own service on this machine
        f"{service.url}/moto-api/reset-auth", data=str(after_requests).encode(), headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def test_no_keys_at_all_are_a_matter_of_settings(
    make_dataset: Make, workspace: Workspace, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    remote = replace(service.fresh_bucket("nobody"), access_key_id=None, secret_access_key=None)
    with pytest.raises(SettingsError, match="credentials"):
        register(make_dataset(files=4), None, "tiny", workspace, SETTINGS, remote=remote)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    register(workspace.datasets("tiny") / KEY, None, "tiny", workspace, SETTINGS, remote=remote)
    assert SECRET.encode() not in everything_written(workspace)


def test_a_service_that_is_not_there_can_pass_and_is_told_within_seconds(
    make_dataset: Make, workspace: Workspace
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = replace(NOWHERE, endpoint_url=f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(TransientError, match=rf"{port}.*Remedy: check the network"):
        register(make_dataset(files=4), None, "tiny", workspace, SETTINGS, remote=remote)
    assert time.monotonic() - started < 10
    assert left_as_it_was(workspace)


def test_a_service_that_never_answers_can_pass_and_is_told_within_its_time(
    make_dataset: Make, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_objects, "READ_TIMEOUT_S", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(TransientError, match="imeout"):
            register(
                make_dataset(files=4), None, "tiny", workspace, SETTINGS, remote=replace(NOWHERE, endpoint_url=url)
            )
    assert time.monotonic() - started < 10
