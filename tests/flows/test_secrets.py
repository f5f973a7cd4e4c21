"""Secrets planted in every kind of block and in the environment: used by flows that succeed and fail, found nowhere."""

from __future__ import annotations

import asyncio
import base64
import http.server
import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
from prefect.types import SecretDict
from pydantic import SecretStr

from blocks.dvc_remote import DvcRemote
from blocks.tracking import WandbAccount
from flows.cli import BAD_INPUT, DONE, FAILED, main
from flows.configs import EvaluateConfig, RegisterConfig, RestoreConfig, SyncTrackingConfig, TrainConfig
from flows.evaluate import evaluate
from flows.register import register
from flows.resolve import prepared_folder
from flows.restore import restore
from flows.sync_tracking import sync_tracking
from flows.train import train
from glaucoma.provenance import file_sha256
from glaucoma.records.ledger import Ledger
from glaucoma.schema import Split
from glaucoma.training.experiment import list_experiments
from glaucoma.training.supervise import is_complete
from glaucoma.workspace import Workspace

SECRETS = {
    "s3": "Pl4nted-S3-Xq9vW2-not-for-any-eye",
    "wandb": "Pl4ntedWandbXq9vW2" + "k" * 22,
    "hook": "Pl4nted-Hook-Xq9vW2-not-for-any-eye",
    "slack": "Pl4ntedSlackXq9vW2notforanyeye",
    "server": "Pl4nted-Server-Xq9vW2-not-for-any-eye",
    "environment": "Pl4nted-Environment-Xq9vW2-not-for-any-eye",
    "ledger": "Pl4nted-Ledger-Xq9vW2-not-for-any-eye",
}
KEY, PREPARED_KEY = "0123456789abcdef", "aaaabbbbccccdddd"
pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # apprise, as it is imported
]


@dataclass
class Ran:
    """What the flows left."""

    workspace: Workspace
    said: str
    sent: bytes
    """Requests that the webhook got, which hold its secret."""
    other: Workspace
    """That of another machine: it has the prepared dataset, and the remote."""


def test_no_secret_is_anywhere_but_in_its_block(ran: Ran, watched: Path) -> None:
    assert all(SECRETS[name].encode() in ran.sent for name in ("hook", "slack")), "the webhooks were used"
    places: dict[str, bytes] = {"output": ran.said.encode(), "commands of processes": commands(watched)}
    written = [p for workspace in (ran.workspace, ran.other) for p in workspace.root.rglob("*") if p.is_file()]
    places |= {str(p): p.read_bytes() for p in written}
    places |= {str(p): p.read_bytes() for p in database().parent.glob(f"{database().name}*")}
    assert len(places) > 30
    assert "Trained cls-" in ran.said, "what was logged is looked at"
    for where, content in places.items():
        for name, secret in SECRETS.items():
            assert not any(form in content for form in forms(secret)), f"the secret {name} is in {where}"


def test_what_was_trained_in_one_workspace_is_evaluated_in_another_that_shares_only_the_remote(ran: Ran) -> None:
    (trained,) = list_experiments(ran.workspace)
    (came,) = list_experiments(ran.other)
    assert came.experiment_id == trained.experiment_id
    assert is_complete(came)
    assert Split.VAL in came.metadata.metrics
    assert Split.VAL not in trained.metadata.metrics
    assert not (came.checkpoints / "last.pt").exists()


def test_a_prepared_dataset_that_is_named_by_its_key_is_brought_from_the_remote(ran: Ran) -> None:
    folder = ran.other.prepared("eyes") / PREPARED_KEY
    assert (folder / "manifest.csv").read_bytes() == (
        ran.workspace.prepared("eyes") / PREPARED_KEY / "manifest.csv"
    ).read_bytes()
    assert not ran.other.datasets("eyes").exists()


def test_blocks_show_no_secret_to_who_does_not_ask_for_them(ran: Ran) -> None:
    async def stored() -> str:
        async with get_client() as client:
            return str([one.model_dump() for one in await client.read_block_documents(include_secrets=False)])

    shown = asyncio.run(stored())
    assert "planted" in shown
    assert "arc-notify" in shown
    assert [name for name, secret in SECRETS.items() if secret in shown] == []


def forms(secret: str) -> list[bytes]:
    """The secret as it is, and as it would stand in an Authorization header."""
    pairs = [base64.b64encode(f"{user}:{secret}".encode()) for user in ("api", "admin")]
    return [secret.encode(), *pairs]


def commands(watched: Path) -> bytes:
    """The command lines that were started while the flows ran, and those of all processes now."""
    started = b"".join(path.read_bytes() for path in watched.glob("commands-*"))
    now = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            now.append(path.read_bytes())
        except OSError:
            continue  # it has ended
    assert b"glaucoma.training.child" in started
    return started + b"\n".join(now)


def database() -> Path:
    """The file of the server of these tests: logs, parameters, states, artifacts and blocks lie in it."""
    path = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2])
    assert path.is_file()
    return path


@pytest.fixture(scope="module")
def ran(
    tiny: Any,
    load: Callable[[Path], Any],
    watched: Path,
    tmp_path_factory: pytest.TempPathFactory,
    output: Callable[[], str],
) -> Iterator[Ran]:
    workspace = Workspace.at(tmp_path_factory.mktemp("planted") / "ws")
    tiny.make_prepared(workspace.root)
    unit = Path(__file__).parents[1] / "unit"
    s3, tracking = load(unit / "datasets/registry/test_s3.py"), load(unit / "training/tracking/conftest.py")
    write = load(unit / "datasets/registry/conftest.py").write_folder
    dataset = write(workspace.datasets("eyes") / KEY, "normalize", {"files": "f" * 64}, 3, 500)
    made_from = {"dataset": KEY, "manifest_sha256": file_sha256(dataset / "manifest.csv")}
    write(workspace.prepared("eyes") / PREPARED_KEY, "preprocess", made_from, 2, 500)
    other = Workspace.at(workspace.root.parent / "other")
    shutil.copytree(workspace.prepared(tiny.DATASET), other.prepared(tiny.DATASET))
    with pytest.MonkeyPatch.context() as patch, started(tracking.FakeWandb()) as wandb, started(Webhook()) as hook:
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["environment"])
        patch.setenv("WANDB_API_KEY", SECRETS["environment"])
        patch.setenv("PREFECT_API_AUTH_STRING", f"admin:{SECRETS['server']}")
        patch.setenv("PREFECT_SERVER_API_AUTH_STRING", f"admin:{SECRETS['server']}")
        wandb.accepts = SECRETS["wandb"]
        with temporary_settings({PREFECT_API_AUTH_STRING: f"admin:{SECRETS['server']}"}), s3_service() as url:
            s3.Service(url).fresh_bucket("planted")
            plant(url, wandb.url, hook.url)
            with_remotes(workspace)
            patch.setenv("ARC_REMOTE_BLOCK", "planted")
            with_wandb(workspace, tiny.DATASET)
            elsewhere(list_experiments(workspace)[0].experiment_id, other)
            patch.delenv("ARC_REMOTE_BLOCK")
            notify()
            with_ledger()
            everything_is_at_the_server()
        yield Ran(workspace, output(), b"".join(hook.got), other)


def plant(s3_url: str, wandb_url: str, hook_url: str) -> None:
    remote = {"endpoint_url": s3_url, "region": "us-east-1", "access_key_id": SecretStr("AKIDEXAMPLE")}
    key = SecretStr(SECRETS["s3"])
    save(DvcRemote(url="s3://planted/arc", secret_access_key=key, **remote), "planted")
    save(DvcRemote(url="s3://not-there/arc", secret_access_key=key, **remote), "planted-wrong")
    save(WandbAccount(api_key=SecretStr(SECRETS["wandb"]), base_url=wandb_url), "planted")
    save(WandbAccount(api_key=SecretStr(SECRETS["wandb"]), base_url="http://127.0.0.1:9"), "planted-wrong")
    secrets = SecretDict({"token": SECRETS["hook"]})
    url = f"{hook_url}/{{{{token}}}}"
    save(CustomWebhookNotificationBlock(name="arc", url=url, method="POST", secrets=secrets), "arc-notify")
    said = hook_url.replace("http://", "json://")  # apprise's name for a plain webhook
    save(SlackWebhook(url=SecretStr(f"{said}/{SECRETS['slack']}")), "arc-notify-slack")


def save(block: Block, name: str) -> None:
    saved = block.save(name, overwrite=True)
    if asyncio.iscoroutine(saved):
        asyncio.run(saved)


def with_remotes(workspace: Workspace) -> None:
    """To S3 and back; and to a bucket that is not there, which is an error."""
    where = ["--name", "eyes", "--workspace", str(workspace.root)]
    block = "--registry.remote-block"
    assert main(register, RegisterConfig, arguments=[*where, block, "planted"]) == DONE
    again = ["--registry.push-again", block, "planted-wrong"]
    assert main(register, RegisterConfig, arguments=[*where, *again]) == BAD_INPUT
    (workspace.datasets("eyes") / KEY).rename(workspace.root / "aside")
    assert main(restore, RestoreConfig, arguments=where) == DONE


def with_wandb(workspace: Workspace, dataset: str) -> None:
    """Trains online, and sends to a server that does not answer."""
    where = ["--name", dataset, "--preset", "smoke", "--workspace", str(workspace.root)]
    small = ["--train.classifier", "small_cnn", "--train.input-px", "32", "--train.epochs", "1"]
    tracking = ["kind=wandb", "mode=online", "account-block=planted", "end-timeout-s=60"]
    options = [f"--train.execution.tracking.{one}" for one in tracking]
    options += ["--train.execution.device", "cpu"]
    assert main(train, TrainConfig, arguments=[*where, *small, *options]) == DONE
    send = ["--workspace", str(workspace.root), "--no-dry-run", "--account-block", "planted-wrong"]
    assert main(sync_tracking, SyncTrackingConfig, arguments=send) in (DONE, FAILED)


def elsewhere(experiment: str, other: Workspace) -> None:
    """On a machine that shares the server and the remote, and no disk."""
    where = ["--experiment", experiment, "--preset", "smoke", "--workspace", str(other.root)]
    assert main(evaluate, EvaluateConfig, arguments=[*where, "--evaluate.replicates", "100"]) == DONE

    @flow(name="bring")
    def bring() -> bool:
        return prepared_folder(other, "eyes", PREPARED_KEY).is_dir()

    assert bring()


def notify() -> None:
    """By both webhooks; the second answers with an error."""

    async def tell() -> None:
        for kind, name in ((CustomWebhookNotificationBlock, "arc-notify"), (SlackWebhook, "arc-notify-slack")):
            block = await kind.aload(name)
            try:
                await block.notify("a GPU was drained", subject="arc")
            except Exception as error:  # noqa: BLE001  what it says is looked at, whatever it is
                print(f"not told: {error}")  # noqa: T201

    asyncio.run(tell())


def with_ledger() -> None:
    """A ledger with a password at a server that is not there."""
    for url in (f"postgresql://arc:{SECRETS['ledger']}@127.0.0.1:9/arc", f"mysql://arc:{SECRETS['ledger']}@x/arc"):
        try:
            Ledger(url)
        except Exception as error:  # noqa: BLE001  what it says is looked at, whatever it is
            print(f"no ledger: {error!r}")  # noqa: T201
        else:
            raise AssertionError("there is such a ledger")


def everything_is_at_the_server() -> None:
    """Logs travel in batches; the last line of the last flow comes last."""
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=300, at_exit=False)
    with get_client(sync_client=True) as client:
        assert client.read_logs(LogFilter(), limit=200)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """All that this process and its children write, from now on; pytest's own fixture lasts for one test only."""
    path = tmp_path_factory.mktemp("said") / "output"
    with path.open("a", encoding="utf-8", buffering=1) as target, pytest.MonkeyPatch.context() as patch:
        before = os.dup(1), os.dup(2)
        for number in (1, 2):
            os.dup2(target.fileno(), number)
        patch.setattr(sys, "stdout", target)
        patch.setattr(sys, "stderr", target)
        logged = logging.StreamHandler(target)
        logging.getLogger().addHandler(logged)
        try:
            yield lambda: path.read_text(errors="replace")
        finally:
            logging.getLogger().removeHandler(logged)
            for number, old in zip((1, 2), before, strict=True):
                os.dup2(old, number)
                os.close(old)


class Webhook(http.server.ThreadingHTTPServer):
    """Takes whatever it is told; answers Slack with an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hears)
        self.got: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Hears(http.server.BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.got.append(self.path.encode() + body)
        self.send_response(500 if SECRETS["slack"] in self.path else 200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


class started:  # noqa: N801  a context, used like one
    """A server in a thread."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Any:
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class s3_service:  # noqa: N801
    """An S3 service on this machine; gives its address."""

    def __enter__(self) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from moto.server import ThreadedMotoServer

            self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            self.server.start()
        host, port = self.server.get_host_and_port()
        return f"http://{host}:{port}"

    def __exit__(self, *_: object) -> None:
        self.server.stop()
