"""What every test may use: the real photographs, no network; and an order of all tests for several cores."""

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

LONGEST_FIRST = ("system", "flows", "unit/training", "fuzz", "unit/datasets")
"""Rooms of tests whose files take longest, begun first: so that the processes of `make test` end together."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps each file's tests in one process, where its fixtures are, and puts the longest rooms first."""
    rooms = [config.rootpath / "tests" / room for room in LONGEST_FIRST]

    def turn(item: pytest.Item) -> int:
        return next((place for place, room in enumerate(rooms) if room in item.path.parents), len(rooms))

    items.sort(key=turn)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(config.rootpath).as_posix()))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs; the test is skipped, saying so, where `ARC_REAL_DATA` names none."""
    folder = os.environ.get("ARC_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ARC_REAL_DATA names no folder with real photographs")
    return Path(folder)
