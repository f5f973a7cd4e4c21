"""Sends what was tracked offline to a W&B server, with wandb's own `wandb sync`: each piece of a run once."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import SettingsError, TransientError
from glaucoma.training.tracking.account import Account
from glaucoma.training.tracking.child import end_descendants
from glaucoma.training.tracking.wandb_files import Piece, environment, pieces, run_held, wandb_root
from glaucoma.workspace import Workspace

_REACHED_WITHIN_S = 15.0
_SHOWN_CHARACTERS = 500


class SyncOutcome(StrEnum):
    """What became of a run's pieces that were not sent yet."""

    SENT = "sent"
    WOULD_BE_SENT = "would_be_sent"
    BEING_WRITTEN = "being_written"
    FAILED = "failed"
    SENT_BEFORE = "sent_before"


class SyncedRun(BaseModel):
    """What happened to one run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    outcome: SyncOutcome
    pieces: list[str] = Field(description="Folders of the pieces that the outcome is about.")
    reason: str = ""


def sync_runs(
    workspace: Workspace,
    account: Account | None,
    *,
    dry_run: bool,
    timeout_s: float = 600.0,
    report: Callable[[float, str], None] = lambda share, line: None,
) -> list[SyncedRun]:
    """Sends every piece that was not sent; a run that is being written is left for the next time.

    A piece is sent when wandb has put its mark beside it (`*.wandb.synced`), whatever else it says: its exit code is 0
    after a failure too. The mark keeps it from being sent again.

    Args:
        account: With the key; not needed for a dry run, or where there is nothing to send.
        dry_run: Lists, and sends and asks nothing.
        timeout_s: The longest that one run may take.

    Raises:
        SettingsError: There is something to send and no account.
        TransientError: The server cannot be reached; nothing was changed.
    """
    waiting = _offline_runs(workspace)
    ready = {run_id: left for run_id, found in waiting.items() if (left := [p for p in found if not p.sent])}
    if ready and not dry_run:
        account = _required(account)
        require_reachable(account)
    outcomes = []
    for number, (run_id, found) in enumerate(waiting.items()):
        report(number / len(waiting), run_id)
        outcomes.append(_one(workspace, account, run_id, found, ready.get(run_id, []), dry_run, timeout_s))
    return outcomes


def _offline_runs(workspace: Workspace) -> dict[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    for piece in pieces(workspace):
        if piece.offline:
            found.setdefault(piece.run_id, []).append(piece)
    return found


def _required(account: Account | None) -> Account:
    if account is None:
        raise SettingsError(
            "Runs are to be sent to W&B, and no API key is there",
            expected="the name of a block wandb-account with the key",
            consequence="Nothing was sent",
            remedy="save such a block and name it in account_block; see docs/how-to/compare-runs-in-a-page.md",
        )
    return account


def require_reachable(account: Account) -> None:
    """Asks the server for anything at all, by way of a proxy where the environment names one.

    Raises:
        TransientError: It gives no answer of any kind.
    """
    request = urllib.request.Request(account.base_url, method="HEAD")  # noqa: S310  http or https: Account checks it
    try:
        with urllib.request.urlopen(request, timeout=_REACHED_WITHIN_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:  # it answers: whether it takes the key is its own to say
        error.close()
    except OSError as error:
        raise TransientError(
            f"The W&B server {account.base_url} cannot be reached ({error})",
            consequence="Nothing was sent or changed",
            remedy="run this where there is a network, or correct base_url in the block wandb-account",
        ) from error


def _one(
    workspace: Workspace,
    account: Account | None,
    run_id: str,
    found: list[Piece],
    left: list[Piece],
    dry_run: bool,
    timeout_s: float,
) -> SyncedRun:
    names = [piece.path.parent.name for piece in left]
    if not left:
        return SyncedRun(
            run_id=run_id, outcome=SyncOutcome.SENT_BEFORE, pieces=[piece.path.parent.name for piece in found]
        )
    with run_held(workspace, run_id) as held:
        if not held:
            return SyncedRun(run_id=run_id, outcome=SyncOutcome.BEING_WRITTEN, pieces=names, reason="it is in training")
        if dry_run or account is None:
            return SyncedRun(run_id=run_id, outcome=SyncOutcome.WOULD_BE_SENT, pieces=names)
        said = _send(workspace, account, left, timeout_s)
    missing = [piece.path.parent.name for piece in left if not piece.sent]
    if missing:
        return SyncedRun(run_id=run_id, outcome=SyncOutcome.FAILED, pieces=missing, reason=said[-_SHOWN_CHARACTERS:])
    return SyncedRun(run_id=run_id, outcome=SyncOutcome.SENT, pieces=names)


def _send(workspace: Workspace, account: Account, left: list[Piece], timeout_s: float) -> str:
    """Runs `wandb sync` over the pieces of one run, in their order; gives what it said, without the key."""
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--id", left[0].run_id]
    command += ["--entity", account.entity] if account.entity else []
    command += [str(piece.path.parent) for piece in left]
    own = {"WANDB_API_KEY": account.api_key, "WANDB_SILENT": "false", "NO_COLOR": "1"}
    with subprocess.Popen(
        command,
        cwd=wandb_root(workspace),
        env=environment(workspace, account) | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            said = f"not ready after {timeout_s:g} s"
        finally:
            if process.poll() is None:
                end_descendants(process.pid)
                process.kill()
    return account.redact(" ".join(said.split()))
