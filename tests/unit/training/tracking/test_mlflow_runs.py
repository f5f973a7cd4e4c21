"""Real trainings in MLflow's database, read back with MLflow's own client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from glaucoma.provenance import file_sha256
from glaucoma.training.experiment import Status
from glaucoma.training.progress_log import read_progress
from glaucoma.training.supervise import train
from glaucoma.training.tracking.mlflow_tracker import database_url, environment
from glaucoma.training.tracking.points import flat, point_of
from glaucoma.training.tracking.settings import TrackingSettings
from glaucoma.training.tracking.tracker import Tracker

MLFLOW = TrackingSettings(kind="mlflow", end_timeout_s=200)

READ = """
import json, sys
from mlflow.tracking import MlflowClient

client = MlflowClient(sys.argv[1])
group = client.get_experiment_by_name("glaucoma")
found = []
for run in client.search_runs([group.experiment_id]):
    history = {
        name: [[m.step, m.timestamp, m.value] for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    folders = ["checkpoint", "dataset"]
    files = {one.path: client.download_artifacts(run.info.run_id, one.path)
             for folder in folders for one in client.list_artifacts(run.info.run_id, folder)}
    inputs = [[one.dataset.name, one.dataset.digest] for one in run.inputs.dataset_inputs]
    found.append({"name": run.info.run_name, "status": run.info.status, "params": run.data.params,
                  "tags": run.data.tags, "history": history, "files": files, "inputs": inputs})
print(json.dumps(found))
"""


def runs(workspace):
    """All runs, by another process: what MLflow's imports warn of is not this project's."""
    done = subprocess.run(
        [sys.executable, "-c", READ, database_url(workspace)],
        check=True, capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def attempt(experiment, workspace, status):
    """Copies the progress that is there, as the tracker of one attempt does that ended so."""
    told = []
    experiment.set_status(status, "as the test says")
    tracker = Tracker(experiment, workspace, MLFLOW, None, told.append)
    tracker(read_progress(experiment.progress_path)[-1])
    tracker.end(MLFLOW.end_timeout_s)
    assert told == []


def test_a_training_cut_off_and_resumed_is_one_run_with_the_lines_of_its_progress(spec, workspace, execution):
    experiment = train(spec, workspace, execution)
    lines = experiment.progress_path.read_bytes().splitlines(keepends=True)
    experiment.progress_path.write_bytes(b"".join(lines[:-4]))
    attempt(experiment, workspace, Status.INTERRUPTED)
    experiment.progress_path.write_bytes(b"".join([*lines[:-4], *lines[-6:]]))  # two lines again
    attempt(experiment, workspace, Status.COMPLETED)

    (run,) = runs(workspace)
    assert (run["name"], run["status"]) == (experiment.experiment_id, "FINISHED")
    points = [p for p in map(point_of, read_progress(experiment.progress_path)) if p is not None]
    values: dict[str, dict[int, float]] = {}
    for point in points:
        for name, value in point.values.items():
            values.setdefault(name, {})[point.step] = value
    curves = {name: rows for name, rows in run["history"].items() if not name.startswith("summary/")}
    assert curves.keys() == values.keys()
    for name, rows in curves.items():
        assert {step: value for step, _, value in rows} == values[name], name
        assert len(rows) == len({tuple(row) for row in rows})
    validated = [row[0] for row in run["history"]["val/auc"]]
    assert validated == sorted(set(validated))
    assert run["params"] == {name: str(value) for name, value in flat(spec.model_dump(mode="json")).items()}
    assert run["history"]["summary/best/epoch"][-1][2] == experiment.metadata.training["best_epoch"]
    assert file_sha256(Path(run["files"]["checkpoint/best.pt"])) == experiment.metadata.checkpoint.sha256
    manifest = workspace.prepared(spec.dataset) / spec.prepared_key / "manifest.csv"
    assert file_sha256(Path(run["files"]["dataset/manifest.csv"])) == file_sha256(manifest)
    assert run["inputs"] == [[spec.dataset, file_sha256(manifest)[:36]]]
