"""Every line of docs/reference/control.md is run against a real installation, and ends as the page says."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from glaucoma.archives.unpack import unpack
from glaucoma.datasets.normalize import normalize
from glaucoma.planning.snapshot import take_snapshot
from glaucoma.preprocessing.preprocess import preprocess
from glaucoma.preprocessing.settings import PreprocessSettings
from glaucoma.provenance import file_sha256
from glaucoma.records.creation import make_experiment
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import CycleStatus
from glaucoma.schema import Task
from glaucoma.synthetic.generate import generate_archive
from glaucoma.synthetic.settings import SyntheticSettings
from glaucoma.training.experiment import Experiment
from glaucoma.training.settings import ExecutionSettings, TrainSettings
from glaucoma.training.spec import spec_from
from glaucoma.training.supervise import train
from glaucoma.workspace import Workspace

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

LATER = {
    # Operation -> the round in which it is run, where an earlier one makes what it needs; all others: the first.
    "dataset-info": 2,
    "archive": 2,
    "archive-cycle": 2,
    "cancel": 2,
    "unarchive": 3,
    "unarchive-cycle": 3,
    "pause": 3,
    "go-on": 4,
    "rollback": 5,  # refused while anything else writes
}
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
CYCLE = "eyes-0001-abcdef"
QUICK = ExecutionSettings(device="cpu", threads=1)


@dataclass(frozen=True)
class Row:
    """An operation of the page."""

    name: str
    prefect: str
    curl: str
    ends: str

    @property
    def is_run(self) -> bool:
        return self.ends == "Completed"


def page(project: Path) -> str:
    return (project / "docs" / "reference" / "control.md").read_text(encoding="utf-8")


def rows_of(project: Path) -> list[Row]:
    found = re.findall(r"^\| ([a-z-]+) \| .+? \| `(prefect .+?)` \| `(curl .+?)` \| (.+?) \|$", page(project), re.M)
    return [Row(*cells) for cells in found]


def declared(project: Path) -> set[str]:
    return {one["name"] for one in yaml.safe_load((project / "prefect.yaml").read_text())["deployments"]}


def deployment_of(row: Row) -> str | None:
    found = re.search(r"prefect deployment run ([a-z-]+)/\1 ", row.prefect)
    return found[1] if found else None


def test_the_page_has_an_operation_once_and_names_no_deployment_that_is_not_declared(project: Path) -> None:
    rows = rows_of(project)
    assert len(rows) == page(project).count("\n| ") - 2, "a row of the table that could not be read"
    assert len({row.name for row in rows}) == len(rows)
    assert {row.name for row in rows if (name := deployment_of(row)) and name not in declared(project)} == set()
    assert set(LATER) <= {row.name for row in rows}


EXAMPLES = {
    "ARCHIVE": "/data/eyes.zip",
    "NAME": "eyes",
    "EXPERIMENT": "cls-small_cnn-1a2b3c4d",
    "CYCLE": "eyes-1a2b3c4d",
    "SNAPSHOT": "20260102T030405Z-0a1b2c",
}


def test_every_run_of_the_page_has_settings_that_its_flow_takes(project: Path) -> None:
    checked = set()
    for row in rows_of(project):
        if name := deployment_of(row):
            module = name.replace("-", "_")
            flow = getattr(importlib.import_module(f"flows.{module}"), module)
            (takes,) = get_type_hints(flow.fn, include_extras=True).keys() - {"return"}
            kind = get_type_hints(flow.fn)[takes]
            given = re.search(r"--param config='(.*)'$", row.prefect)
            assert given, row.name
            text = re.sub(r"'\$([A-Z]+)'", lambda found: EXAMPLES[found[1]], given[1])
            kind.model_validate_json(text)
            checked.add(row.name)
    assert {"schedule", "research", "steer", "delete"} <= checked


class Shell:
    """A shell in which the page's first lines were run."""

    def __init__(self, installation: Any) -> None:
        self._installation = installation
        self._setup = re.findall(r"```bash\n(.+?)```", page(installation.project), re.S)[0]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {
            **installation.environment,
            "PATH": path,
            "PREFECT_API_URL": installation.api,
            "COLUMNS": "1000",
            "NO_COLOR": "1",
            "TMPDIR": str(installation.workspace.parent),
        }

    def run(self, lines: Iterable[tuple[str, str, dict[str, str]]], folder: Path) -> dict[str, str]:
        """What each (operation, line, variables) printed; one that fails fails the test, all in one process."""
        folder.mkdir()
        script = ["set -u", self._setup]
        names = []
        for name, line, variables in lines:
            names.append(name)
            exports = " ".join(f"{key}={value}" for key, value in variables.items())
            script.append(f"({f'export {exports}; ' if exports else ''}{line}) > {folder}/{name} 2>&1")
            script.append(f"echo $? > {folder}/{name}.rc")
        script.append('rm "$ARC_CURL"')
        ended = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=self._installation.project,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        said = {name: (folder / name).read_text() for name in names}
        failed = {name: said[name] for name in names if (folder / f"{name}.rc").read_text().strip() != "0"}
        assert failed == {}
        return said


def take_in(workspace: Workspace, archive: Path) -> Path:
    dataset = normalize(unpack(archive, workspace), "eyes", workspace)
    settings = PreprocessSettings.for_preset("smoke", image_size_px=64)
    return preprocess(dataset.folder, "eyes", workspace, settings).folder


def prepare(workspace: Workspace, archive: Path) -> dict[str, dict[str, str]]:
    """A tiny dataset, two trained experiments and what else the lines are about; operation -> its variables."""
    prepared = take_in(workspace, archive)
    ledger = Ledger(workspace.ledger_url)

    def spec(seed: int) -> Any:
        tiny = TrainSettings.for_preset("smoke", classifier="small_cnn", input_px=32, epochs=1, seed=seed)
        return spec_from(tiny, Task.CLASSIFICATION, "eyes", prepared.name)

    trained = [train(spec(seed), workspace, QUICK) for seed in (101, 102)]
    made = [make_experiment(spec(seed), workspace, ledger, QUICK, at=datetime.now(UTC))[0] for seed in (103, 104)]
    ledger.start_cycle(CYCLE, {}, at=datetime.now(UTC))
    ledger.end_cycle(CYCLE, CycleStatus.COMPLETED, at=datetime.now(UTC))
    (workspace.cycles / CYCLE).mkdir(parents=True)
    (workspace.cycles / CYCLE / "report.html").write_text("a report")
    snapshot = take_snapshot(workspace, reason="a test", at=datetime.now(UTC))
    every = {
        "ARCHIVE": str(archive),
        "NAME": "eyes",
        "EXPERIMENT": trained[0].experiment_id,
        "CYCLE": CYCLE,
        "SNAPSHOT": snapshot.snapshot_id,
    }
    special = {"archive": trained[1], "unarchive": trained[1], "resume": made[0], "delete": made[1]}
    found = {name: {**every, "EXPERIMENT": experiment.experiment_id} for name, experiment in special.items()}
    return {"": every, **found}


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive with labels and masks: the Disc Relevance Index needs the disc."""
    path = tmp_path_factory.mktemp("eyes") / "eyes.zip"
    return generate_archive(path, SyntheticSettings(patients=16, photo_height_px=240, seed=3)).path


@pytest.mark.long
def test_every_line_of_the_page_works_and_both_columns_ask_for_the_same(
    installation: Any, eyes: Path, wait_for: Callable[..., Any], tmp_path: Path
) -> None:
    rows = rows_of(installation.project)
    workspace, shell = Workspace(installation.workspace), Shell(installation)
    variables = prepare(workspace, eyes)
    runs: dict[str, str] = {}

    def of(row: Row) -> dict[str, str]:
        return variables.get(row.name, variables[""])

    def state(run: str) -> Any:
        found = installation.call("GET", f"/flow_runs/{run}")["state"]
        return found if found["type"] in ENDS else None

    def submit(name: str, config: dict[str, Any], **more: Any) -> str:
        deployment = installation.call("GET", f"/deployments/name/{name}/{name}")
        body = {"parameters": {"config": config}, **more}
        return str(installation.call("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"])

    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2036-01-01T00:00:00Z"}}
    variables["cancel-run"] = {**variables[""], "RUN": submit("datasets", {}, state=later)}
    endless = {"epochs": 10_000, "patience": 10_000}
    long = {"classifier": "small_cnn", "input_px": 32, **endless, "execution": {"device": "cpu", "threads": 1}}
    before = {path.name for path in workspace.experiments.iterdir()}

    def is_under_way() -> Experiment | None:
        there = [Experiment(path) for path in workspace.experiments.iterdir() if path.name not in before]
        begun = (one for one in there if one.progress_path.is_file())
        return next((one for one in begun if one.spec.epochs == endless["epochs"]), None)

    for number in range(1, 6):
        round_ = [row for row in rows if LATER.get(row.name, 1) == number]
        if any(row.name == "cancel" for row in round_):
            submit("train", {"name": "eyes", "preset": "smoke", "train": long})
            training = wait_for(is_under_way, 600, "a training to cancel")
            variables["cancel"] = {**variables[""], "EXPERIMENT": training.experiment_id}
        said = shell.run(((row.name, row.prefect, of(row)) for row in round_), tmp_path / f"prefect-{number}")
        started = {row.name: re.findall(r"UUID: ([0-9a-f-]{36})", said[row.name])[0] for row in round_ if row.is_run}
        runs |= started
        ended = {name: wait_for(lambda run=run: state(run), 600, f"the end of {name}") for name, run in started.items()}
        assert {name: end["message"] for name, end in ended.items() if end["type"] != "COMPLETED"} == {}

    assert installation.call("GET", "/variables/name/arc_mode")["value"] == "manual"
    assert state(variables["cancel-run"]["RUN"])["type"] == "CANCELLED"
    assert not installation.call("GET", "/work_pools/arc-gpu")["is_paused"]

    # the other column: the same run of the same deployment with the same settings; nothing of it is run twice
    open_pools = [pool["name"] for pool in installation.call("POST", "/work_pools/filter", {})]
    for pool in open_pools:
        installation.call("PATCH", f"/work_pools/{pool}", {"is_paused": True})
    variables["cancel-run"]["RUN"] = submit("datasets", {}, state=later)
    said = shell.run(((row.name, row.curl, of(row)) for row in rows), tmp_path / "curl")
    for row in rows:
        if row.is_run:
            asked, done = json.loads(said[row.name]), installation.call("GET", f"/flow_runs/{runs[row.name]}")
            assert (asked["deployment_id"], asked["parameters"]) == (done["deployment_id"], done["parameters"]), (
                row.name
            )
            assert asked["state"]["type"] == "SCHEDULED"
            if row.name != "status":
                installation.call("DELETE", f"/flow_runs/{asked['id']}")
    assert state(variables["cancel-run"]["RUN"])["type"] == "CANCELLED"
    assert not installation.call("GET", "/work_pools/arc-gpu")["is_paused"], "the last line about it opens it"
    for pool in open_pools:
        installation.call("PATCH", f"/work_pools/{pool}", {"is_paused": False})
    status = json.loads(said["status"])["id"]
    assert wait_for(lambda: state(status), 300, "the end of the run that curl asked for")["type"] == "COMPLETED"

    assert_done(installation, workspace, variables)


def assert_done(installation: Any, workspace: Workspace, variables: dict[str, dict[str, str]]) -> None:
    """What the operations left in the workspace, as the page says."""
    kept = {path.name for path in workspace.experiments.iterdir()}
    assert variables["resume"]["EXPERIMENT"] in kept
    assert variables["unarchive"]["EXPERIMENT"] in kept
    assert variables["delete"]["EXPERIMENT"] not in kept
    assert (workspace.cycles / CYCLE / "report.html").read_text() == "a report"
    resumed = Experiment(workspace.experiments / variables["resume"]["EXPERIMENT"])
    assert resumed.status == "completed"
    assert Experiment(workspace.experiments / variables["cancel"]["EXPERIMENT"]).status == "cancelled"
    there = Experiment(workspace.experiments / variables[""]["EXPERIMENT"]).visualizations
    pictures = {path.resolve() for path in there.glob("*/stage.json")}  # the newest of each split is linked to
    methods = [json.loads(path.read_text())["settings"]["method"] for path in pictures]
    assert sorted(methods) == ["grad_cam", "grad_cam", "grad_cam_pp"]
    assert all(file_sha256(path.with_name("dri.csv")) for path in pictures)
    artifacts = installation.call("POST", "/artifacts/latest/filter", {"limit": 200})
    assert {"system-status", "experiments", "snapshots", "deletion", "housekeeping"} <= {a["key"] for a in artifacts}
