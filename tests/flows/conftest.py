"""One embedded Prefect server for all flow tests, and a small generated archive."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.testing.utilities import prefect_test_harness

from flows.quiet import QUIET, be_quiet
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings

WATCHED = "ARC_TEST_WATCHED"


@pytest.fixture(scope="session", autouse=True)
def _prefect_server(watched_folder: Path) -> Iterator[None]:
    """Started with the variables alone that importing `flows` sets, and watched from its first moment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in QUIET:
            patch.delenv(name, raising=False)
        be_quiet()
        patch.setenv(WATCHED, str(watched_folder))
        with prefect_test_harness(server_startup_timeout=300):
            patch.delenv(WATCHED)
            yield


@pytest.fixture(scope="session")
def watched_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where watched processes write what they try (`outward-*`) and start (`commands-*`). This one is watched too."""
    hook = Path(__file__).parent / "watched"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), *filter(None, [os.environ.get("PYTHONPATH")])])
    loaded(hook / "sitecustomize.py")
    return tmp_path_factory.mktemp("watched")


@pytest.fixture(scope="module")
def watched(watched_folder: Path) -> Iterator[Path]:
    """Watches this process, and all that it starts, while a module's tests run; the folder of what was seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WATCHED, str(watched_folder))
        yield watched_folder


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small archive a layout: `masks.zip` (images + masks) and `folders.zip` (classes, no masks)."""
    folder = tmp_path_factory.mktemp("archives")
    for name, layout in (("masks", SyntheticLayout.IMAGES_MASKS), ("folders", SyntheticLayout.CLASS_FOLDERS)):
        settings = SyntheticSettings(patients=16, photo_height_px=240, layout=layout, seed=3)
        generate_archive(folder / f"{name}.zip", settings)
    return folder


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The tiny prepared datasets and specs of the unit tests of training: `make_prepared(root)`, `tiny_spec(..)`."""
    return loaded(Path(__file__).parents[1] / "unit" / "training" / "conftest.py")


@pytest.fixture(scope="session")
def load() -> Callable[[Path], Any]:
    """Gives the module in a file of tests, whatever folder it lies in."""
    return loaded


def loaded(path: Path) -> Any:
    """The module in that file."""
    found = importlib.util.spec_from_file_location(f"loaded_{path.parent.name}_{path.stem}", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def task_states() -> Callable[[str], list[tuple[str, str]]]:
    """Asks the server for the (task run, state) pairs of the newest flow run of a name, in the order of their start."""
    return _task_states


def _task_states(flow_run_name: str) -> list[tuple[str, str]]:
    with get_client(sync_client=True) as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[flow_run_name]))
        runs = client.read_flow_runs(flow_run_filter=named)
        newest = max(runs, key=lambda run: run.created)
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [newest.id]}}))
    return [(t.name, t.state.name) for t in sorted(tasks, key=lambda t: t.created) if t.state]
