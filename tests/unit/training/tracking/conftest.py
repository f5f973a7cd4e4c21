"""Experiments whose progress is written by hand, and a server that speaks as much of W&B as it is asked."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from glaucoma.training.experiment import Experiment, create_experiment
from glaucoma.training.progress_log import ProgressWriter
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

STEPS_PER_EPOCH, EPOCHS = 4, 3


@pytest.fixture
def experiment(spec: ExperimentSpec, workspace: Workspace) -> Experiment:
    return create_experiment(spec, workspace)


@pytest.fixture
def write_progress() -> Callable[..., None]:
    return _write_progress


def _write_progress(experiment: Experiment, first: int = 1, last: int = STEPS_PER_EPOCH * EPOCHS) -> None:
    """The lines of the steps `first` to `last`, as the loop writes them, with an epoch's line behind its last step."""
    with contextlib.closing(ProgressWriter(experiment.progress_path)) as writer:
        writer.write(event="start", message="started on cpu", step=first - 1)
        for step in range(first, last + 1):
            epoch = (step - 1) // STEPS_PER_EPOCH + 1
            line = {"epoch": epoch, "epochs": EPOCHS, "step": step, "steps": STEPS_PER_EPOCH * EPOCHS}
            line |= {"loss": 1 / step, "lr": step / 100, "images_per_s": 10.0 + step}
            writer.write(**line)
            if step % STEPS_PER_EPOCH == 0:
                writer.write(**line, val={"loss": 2 / step, "auc": float("nan") if epoch == 1 else 0.5 + epoch / 10})


class FakeWandb(http.server.ThreadingHTTPServer):
    """Answers what `wandb sync` asks, and keeps what it sends. It is no W&B server: artifacts it says to have already.

    Attributes:
        accepts: The key that it takes; any other is refused.
        history: Rows by run id.
        requests: Number of requests of any kind.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.accepts = "k" * 40
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: list[str] = []
        self.requests = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes without a word is no error of the server."""

    def run(self, name: str) -> dict[str, Any]:
        rows = self.history.get(name, [])
        owner = {"id": "e", "name": "me"}
        return {
            "id": "b", "name": name, "displayName": name, "config": "{}", "sweepName": None, "summaryMetrics": "{}",
            "historyLineCount": len(rows), "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]",
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]), "tags": [], "notes": "",
            "wandbConfig": json.dumps({"t": 1}), "project": {"id": "p", "name": "p", "entity": owner},
        }  # fmt: skip

    def answer(self, path: str, content: bytes) -> Any:
        if path.endswith("/file_stream"):
            self._keep(path.split("/")[-2], json.loads(content))
        if path != "/graphql":
            return {"exitcode": None, "limits": {}}
        asked = json.loads(content)
        given = asked.get("variables") or {}
        match asked.get("operationName"):
            case "RunResumeStatus":
                known = given["name"] in self.history
                bucket = self.run(given["name"]) if known else None
                data = {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}
            case "UpsertBucket":
                new = given["name"] not in self.history
                self.history.setdefault(given["name"], [])
                data = {"upsertBucket": {"bucket": self.run(given["name"]), "inserted": new}}
            case "CreateArtifact":
                self.artifacts.append(given["input"]["artifactCollectionName"])
                artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": "a"}}}
                data = {"createArtifact": {"artifact": artifact}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in given["files"]]
                data = {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
            case _:
                data = {}
        return {"data": data}

    def _keep(self, name: str, sent: dict[str, Any]) -> None:
        part = (sent.get("files") or {}).get("wandb-history.jsonl")
        if part:
            self.history[name][part["offset"] :] = [json.loads(row) for row in part["content"]]


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeWandb

    def _do(self) -> None:
        self.server.requests += 1
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        key = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).decode()
        known = not self.path.startswith("/graphql") or key == f"api:{self.server.accepts}"
        answer = json.dumps(self.server.answer(self.path, content) if known else {"error": "who are you?"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_HEAD = _do  # noqa: N815  as http.server names them

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def fake_wandb() -> Iterator[FakeWandb]:
    with FakeWandb() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
