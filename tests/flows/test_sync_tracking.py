"""Tracking as flows see it: a training whose run is in the workspace, an account in a block, and what is sent when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from pydantic import SecretStr

from blocks.tracking import WandbAccount, account_in_block
from flows.cli import BAD_INPUT, DONE, FAILED, main
from flows.configs import SyncTrackingConfig, TrainConfig
from flows.sync_tracking import sync_tracking
from flows.train import train
from glaucoma.errors import NotFoundError
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.wandb_files import pieces
from glaucoma.workspace import Workspace

SECRET = "Zk9" * 15  # of nothing
NOBODY = "http://127.0.0.1:9"

pytestmark = pytest.mark.timeout(900)  # the first test waits for a training


@pytest.fixture(scope="module")
def trained(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one experiment, tracked offline by the flow `train`."""
    workspace = Workspace.at(tmp_path_factory.mktemp("tracked") / "ws")
    tiny.make_prepared(workspace.root)
    shared = ["--name", tiny.DATASET, "--preset", "smoke", "--workspace", str(workspace.root)]
    small = ["--train.classifier", "small_cnn", "--train.input-px", "32", "--train.epochs", "2"]
    tracking = ["--train.execution.device", "cpu", "--train.execution.tracking.kind", "wandb"]
    assert main(train, TrainConfig, arguments=[*small, *tracking, *shared]) == DONE
    return workspace


@pytest.fixture(scope="module")
def account() -> str:
    """The name of a block with an account at a server that nobody runs."""
    saved = WandbAccount(api_key=SecretStr(SECRET), base_url=NOBODY, entity="lab").save("nobody", overwrite=True)
    if asyncio.iscoroutine(saved):
        asyncio.run(saved)
    return "nobody"


def table(key: str) -> list[dict[str, object]]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    rows: list[dict[str, object]] = json.loads(max(found, key=lambda one: one.created).data)
    return rows


def test_a_dry_run_lists_what_a_training_left_and_needs_no_account(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (piece,) = pieces(trained)
    capsys.readouterr()
    assert main(sync_tracking, SyncTrackingConfig, arguments=["--workspace", str(trained.root), "--json"]) == DONE
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"]
    (run,) = told["runs"]
    assert (run["run_id"], run["outcome"]) == (piece.run_id, "would_be_sent")
    assert run["pieces"] == [piece.path.parent.name]
    assert table("sync-tracking") == told["runs"]


def test_without_an_account_nothing_is_sent_and_the_way_to_one_is_named(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--workspace", str(trained.root), "--no-dry-run"]
    assert main(sync_tracking, SyncTrackingConfig, arguments=arguments) == BAD_INPUT
    assert "account_block" in capsys.readouterr().err


def test_without_a_network_nothing_is_changed_and_the_key_is_said_nowhere(
    trained: Workspace, account: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.tracking.rglob("*"))
    arguments = ["--workspace", str(trained.root), "--no-dry-run", "--account-block", account]
    assert main(sync_tracking, SyncTrackingConfig, arguments=arguments) == FAILED
    said = "".join(capfd.readouterr())
    assert f"{NOBODY} cannot be reached" in said
    assert SECRET not in said
    assert sorted(trained.tracking.rglob("*")) == before


def test_a_block_gives_the_account_and_keeps_its_key(account: str) -> None:
    assert account_in_block(account) == Account(SECRET, NOBODY, "lab")
    with pytest.raises(NotFoundError, match="wandb-account/none"):
        account_in_block("none")

    async def stored() -> str:
        async with get_client() as client:
            return str(await client.read_block_document_by_name(account, "wandb-account", include_secrets=False))

    assert SECRET not in asyncio.run(stored())


def test_a_training_that_goes_online_without_its_block_ends_before_it_begins(
    trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments = sorted(trained.experiments.iterdir())
    arguments = ["--name", "tiny", "--preset", "smoke", "--workspace", str(trained.root), "--train.seed", "7"]
    tracking = [f"--train.execution.tracking.{one}" for one in ("kind=wandb", "mode=online", "account-block=none")]
    assert main(train, TrainConfig, arguments=[*arguments, *tracking]) == BAD_INPUT
    assert "wandb-account/none" in capsys.readouterr().err
    assert sorted(trained.experiments.iterdir()) == experiments


def test_the_flows_first_task_refuses_a_tracker_that_is_not_installed(
    trained: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from glaucoma.training.tracking import tracker

    find: Callable[..., object] = tracker.importlib.util.find_spec
    monkeypatch.setattr(
        tracker.importlib.util, "find_spec", lambda name, *more: None if name == "mlflow" else find(name, *more)
    )
    arguments = ["--name", "tiny", "--preset", "smoke", "--workspace", str(trained.root), "--train.seed", "8"]
    assert main(train, TrainConfig, arguments=[*arguments, "--train.execution.tracking.kind", "mlflow"]) == BAD_INPUT
    assert "arc-glaucoma[mlflow]" in capsys.readouterr().err
