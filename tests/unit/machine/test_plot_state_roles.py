"""The picture, the state of each GPU, and what each is for; readings are made-up test data."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from glaucoma.errors import IntegrityError, SettingsError
from glaucoma.machine.drained import drain, drained, forget_paused, note_paused, paused_queues
from glaucoma.machine.hangs import Work
from glaucoma.machine.plot import machine_png
from glaucoma.machine.roles import roles
from glaucoma.machine.state import gpu_states
from glaucoma.machine.store import GPU_FIGURES, HOST_FIGURES, Row
from glaucoma.reporting.curves import png_uri

AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_picture_of_many_gpus_and_hours_is_small_enough_for_a_page():
    rows = [Row(1e9 + 30 * n, 0.0, dict.fromkeys(GPU_FIGURES, float(n * 37 % 101))) for n in range(3000)]
    gaps = [Row(row.at_s, 0.0, dict.fromkeys(GPU_FIGURES)) for row in rows]
    png = machine_png("made-up-host", {**dict.fromkeys(range(8), rows), 8: gaps}, [])
    assert png.startswith(b"\x89PNG")
    assert png_uri(png)


def test_without_a_gpu_the_picture_shows_the_machine():
    rows = [Row(1e9 + 30 * n, 0.0, dict.fromkeys(HOST_FIGURES, 1.0)) for n in range(5)]
    assert machine_png("made-up-host", {}, rows) != machine_png("made-up-host", {}, [])


def test_a_gpu_shows_what_it_is_for_whether_it_takes_work_and_what_is_on_it(workspace, made_up):
    drain(workspace, 3, "Xid 79", AT)
    work = Work(gpu=0, run_id="r1", experiment="cls-a")
    first, gone = gpu_states(made_up(), {0: "experiment"}, workspace, [work])
    cells = first.cells({"r1": "train small"})
    assert (cells["for"], cells["takes work"], cells["works on"]) == ("experiment", "yes", "train small (cls-a)")
    assert (gone.gpu, gone.drained, gone.reading) == (3, "Xid 79", None)
    assert "no: Xid 79" in gone.cells({}).values()


def test_the_policy_file_says_what_a_gpu_is_for(tmp_path):
    path = tmp_path / "gpus.yaml"
    assert roles(path, {}) == {}
    path.write_text("experiment: [0, 1]\ninference: [2]\ndetect: true\n")
    assert roles(path, {}) == {0: "experiment", 1: "experiment", 2: "inference"}
    with pytest.raises(SettingsError, match="cannot be read"):
        roles(path, {"ARC_GPU_POLICY": str(tmp_path / "missing.yaml")})


def test_the_queues_that_were_paused_for_a_gpu_are_kept_in_mind_beside_its_mark(workspace):
    drain(workspace, 1, "hung", AT)
    note_paused(workspace, 1, ["p05-gpu1"])
    note_paused(workspace, 1, ["p00-gpu1"])  # a drain that was cut off, and made again
    assert paused_queues(workspace, 1) == ["p00-gpu1", "p05-gpu1"]
    assert len(drained(workspace)) == 1
    forget_paused(workspace, 1)
    assert paused_queues(workspace, 1) == []
    note_paused(workspace, 1, [])
    next(workspace.machine.rglob("queues-gpu1.json")).write_text("{")
    with pytest.raises(IntegrityError, match="Which queues"):
        paused_queues(workspace, 1)
