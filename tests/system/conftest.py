"""Real processes: a command in its own process, and a whole Prefect installation on a free port."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ARC_", "PYTEST_"))}
    return {
        **kept,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ARC_WORKSPACE": str(tmp_path / "workspace"),
    }


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object], float, str], object]:
    """Looks again and again until a question is answered with something true."""
    import time

    def look(question: Callable[[], object], timeout_s: float, what: str) -> object:
        deadline = time.monotonic() + timeout_s
        while not (found := question()):
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
            time.sleep(0.1)  # between two looks at the thing itself
        return found

    return look
