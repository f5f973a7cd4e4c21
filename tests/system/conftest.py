"""Real processes: a command in its own process, and a whole Prefect installation on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deployments.profile import USER, password
from deployments.services import marked
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings
from glaucoma.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder that commands run in."""
    return PROJECT


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated archive with labels and no masks."""
    path = tmp_path_factory.mktemp("archive") / "eyes.zip"
    settings = SyntheticSettings(patients=16, photo_height_px=240, layout=SyntheticLayout.CLASS_FOLDERS, seed=3)
    return generate_archive(path, settings).path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with a Prefect home, a workspace and a port of its own; no server is named in it."""
    return _environment(tmp_path)


def _environment(folder: Path) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ARC_", "PYTEST_"))}
    return {
        **kept,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ARC_WORKSPACE": str(folder / "workspace"),
        "ARC_ALLOWED_ROOTS": str(folder.parent),  # the archives of the tests lie beside it
    }


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object], float, str], object]:
    """Looks again and again until a question is answered with something true."""

    def look(question: Callable[[], object], timeout_s: float, what: str) -> object:
        deadline = time.monotonic() + timeout_s
        while not (found := question()):
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
            time.sleep(0.1)  # between two looks at the thing itself
        return found

    return look


@dataclass
class Installation:
    """A running server, spoken to as the UI speaks to it."""

    api: str
    environment: dict[str, str]
    project: Path
    workspace: Path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request, as a page that somebody logged in to sends it.

        503 (a busy database) is tried again, as Prefect's own client does.
        """
        known = (USER, password(Workspace.at(self.workspace)))
        with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=60, auth=known) as client:
            headers = self._page(client) if method != "GET" else {}
            for _ in range(20):
                response = client.request(method, f"{self.api}{path}", json=body, headers=headers)
                if response.status_code != 503:
                    break
                time.sleep(1)  # what the server asks for in Retry-After
        response.raise_for_status()
        return response.json() if response.content else None

    def _page(self, client: httpx.Client) -> dict[str, str]:
        """The headers by which the server knows that a change comes from one of its own pages."""
        page = str(uuid4())
        token = client.get(f"{self.api}/csrf-token", params={"client": page}).raise_for_status().json()["token"]
        return {"Prefect-Csrf-Client": page, "Prefect-Csrf-Token": token}

    def local(self, what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deployments.local", what]
        return subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, timeout=600
        )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one installation run in one process."""
    for item in items:
        if "installation" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("installation"))


@pytest.fixture(scope="session")
def installation(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all tests: to start and stop a server and its workers takes longer than most of them.

    So a test finds the runs, datasets and experiments of others there, and leaves its services as it found them: up.
    """
    environment = _environment(tmp_path_factory.mktemp("installation"))
    api = f"http://127.0.0.1:{environment['PREFECT_SERVER_API_PORT']}/api"
    made = Installation(api, environment, project, Path(environment["ARC_WORKSPACE"]))
    up = made.local("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        # Where this machine's disk is nearly full, the watch would rightly keep cycles from beginning; and a research
        # that a test starts would be cancelled where one of the schedule runs.
        for name in ("watch", "research"):
            deployment = made.call("GET", f"/deployments/name/{name}/{name}")
            made.call("PATCH", f"/deployments/{deployment['id']}", {"paused": True})
        yield made
    finally:
        down = made.local("down")
        left = marked(made.workspace / ".services")
        assert down.returncode == 0, down.stdout + down.stderr
        assert left == []
