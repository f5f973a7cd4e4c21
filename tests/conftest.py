"""What every test may use: the real photographs, and an environment that reaches no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("arc", derandomize=True, print_blob=True)
settings.load_profile("arc")
"""The same examples each time: a change is judged by what it changed. `make fuzz` looks for new ones."""

os.environ["PREFECT_PROFILE"] = "ephemeral"  # a server that `make up` runs here is none of the tests' business
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs; the test is skipped, saying so, where `ARC_REAL_DATA` names none."""
    folder = os.environ.get("ARC_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ARC_REAL_DATA names no folder with real photographs")
    return Path(folder)
