"""One process works on a cycle at a time, and its flow run is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from glaucoma.records import cycle_turn as module
from glaucoma.records.cycle_turn import CycleBusyError, cycle_of_living_run, cycle_turn
from glaucoma.workspace import Workspace


def test_a_cycle_is_one_processs_at_a_time_and_says_whose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    workspace = Workspace.at(tmp_path)
    assert cycle_of_living_run("run-1", workspace) is None
    with cycle_turn("eyes-0001-abc", "run-1", workspace), cycle_turn("eyes-0002-abc", "run-2", workspace):
        assert cycle_of_living_run("run-1", workspace) == "eyes-0001-abc"
        assert cycle_of_living_run("run-2", workspace) == "eyes-0002-abc"
        with (
            pytest.raises(CycleBusyError, match=r"eyes-0001-abc is being .* \(flow run run-1\)"),
            cycle_turn("eyes-0001-abc", "run-3", workspace),
        ):
            pass
    assert cycle_of_living_run("run-1", workspace) is None
    with cycle_turn("eyes-0001-abc", "run-3", workspace):
        assert cycle_of_living_run("run-3", workspace) == "eyes-0001-abc"
        assert cycle_of_living_run("run-1", workspace) is None
