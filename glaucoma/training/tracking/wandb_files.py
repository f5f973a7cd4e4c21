"""W&B's folders and files on this disk: where the pieces of a run lie, and what stands in them.

A `.wandb` file is a log of protocol buffers in LevelDB's log format: a header of 7 bytes, then blocks of 32 KiB that
hold fragments, each with its checksum, length and type (github.com/google/leveldb, doc/log_format.md). wandb's own
reader is part of its compiled service and has no call for this.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glaucoma.training.tracking.account import Account
from glaucoma.workspace import Workspace

_BLOCK, _FILE_HEADER = 32 * 1024, 7
_FRAGMENT = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_OFFLINE = "offline-run-"


@dataclass(frozen=True)
class Piece:
    """One `.wandb` file: what one process wrote of a run. A resumed run has several, one an attempt."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.stem.removeprefix("run-")

    @property
    def offline(self) -> bool:
        return self.path.parent.name.startswith(_OFFLINE)

    @property
    def mark(self) -> Path:
        """The file that `wandb sync` puts beside a piece that was sent."""
        return self.path.with_name(f"{self.path.name}.synced")

    @property
    def sent(self) -> bool:
        return self.mark.exists()


def wandb_root(workspace: Workspace) -> Path:
    """The folder that all of W&B's files lie in."""
    return workspace.tracking / "wandb"


def pieces(workspace: Workspace, run_id: str = "*") -> list[Piece]:
    """The pieces of a run, or of all runs, in the order in which they were begun."""
    found = wandb_root(workspace).glob(f"wandb/*run-*/run-{run_id}.wandb")
    return sorted((Piece(path) for path in found), key=lambda piece: piece.path.parent.name.split("run-", 1)[1])


@contextlib.contextmanager
def run_held(workspace: Workspace, run_id: str) -> Iterator[bool]:
    """Holds the run while it is written or sent; gives False, without waiting, where another process holds it."""
    path = workspace.locks / f"tracking-{run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def environment(workspace: Workspace, account: Account | None = None) -> dict[str, str]:
    """This process's environment for one that runs wandb: all in the workspace, nothing told to its makers.

    Other settings and keys of W&B that stand in the environment are left out, and so is a `.netrc`: only what is given
    here counts.
    """
    root = wandb_root(workspace)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {
        "WANDB_DIR": str(root),
        "WANDB_DATA_DIR": str(root / "data"),
        "WANDB_CACHE_DIR": str(root / "cache"),
        "WANDB_CONFIG_DIR": str(root / "config"),
        "WANDB_ARTIFACT_DIR": str(root / "artifacts"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DISABLE_CODE": "true",
        "NETRC": os.devnull,
        "DO_NOT_TRACK": "1",
    }
    if account is None:
        return kept | own | {"WANDB_MODE": "offline"}
    return kept | own | {"WANDB_BASE_URL": account.base_url}


def history(piece: Piece) -> Iterator[dict[str, Any]]:
    """The rows of a piece, each as logged with `_step`; a row that a kill tore ends them."""
    from wandb.proto import wandb_internal_pb2

    for content in _records(piece.path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            yield _values(record.history.item)


def read_end(piece: Piece) -> Mapping[str, Any]:
    """What a piece says beside its rows: `run`, `config`, `summary`, `artifacts` (types by name), `exit_code`."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, Any] = {"run": {}, "config": {}, "summary": {}, "artifacts": {}, "exit_code": None}
    for content in _records(piece.path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = {"run_id": record.run.run_id, "project": record.run.project, "group": record.run.run_group}
            found["config"] |= _values(record.run.config.update)
        elif kind == "config":
            found["config"] |= _values(record.config.update)
        elif kind == "summary":
            found["summary"] |= _values(record.summary.update)
        elif kind == "artifact":
            found["artifacts"][record.artifact.name] = record.artifact.type
        elif kind == "exit":
            found["exit_code"] = record.exit.exit_code
    return found


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    """The whole records of a file; what was not wholly written ends them."""
    position, parts = _FILE_HEADER, bytearray()
    while position + _FRAGMENT.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _FRAGMENT.size:
            position += left
            continue
        _, length, kind = _FRAGMENT.unpack_from(data, position)
        position += _FRAGMENT.size
        fragment = data[position : position + length]
        position += length
        if len(fragment) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            return
        parts = bytearray(fragment) if kind in (_FULL, _FIRST) else parts + fragment
        if kind in (_FULL, _LAST):
            yield bytes(parts)
