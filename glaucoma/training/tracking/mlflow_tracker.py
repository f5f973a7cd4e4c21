"""A run in MLflow, on SQLite in the workspace: `mlflow ui` shows it, and no server is needed to write it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glaucoma.provenance import exclusive
from glaucoma.training.experiment import Status
from glaucoma.training.tracking.points import Logged, Point, flat
from glaucoma.training.tracking.run import LOST, DatasetReference, TrackedRun
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_EXPERIMENT, _LOGGED = "arc.experiment_id", "arc.logged"
_LONGEST_PARAMETER, _LONGEST_TAG = 6000, 5000
_MOST_METRICS, _MOST_PARAMETERS = 1000, 100
"""MLflow's limits for one call."""
_ENDS = {Status.COMPLETED.value: "FINISHED", Status.FAILED.value: "FAILED"}
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Which of its two faces MLflow's page shows: that for training, not that for language models."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


def database_url(workspace: Workspace) -> str:
    """Where MLflow keeps runs; for `mlflow ui --backend-store-uri`."""
    return f"sqlite:///{workspace.tracking / 'mlflow.db'}"


def artifacts_folder(workspace: Workspace) -> Path:
    """Where MLflow keeps files."""
    return workspace.tracking / "mlflow-artifacts"


def environment() -> dict[str, str]:
    """This process's environment for one that runs mlflow, without other settings of it, and telling nobody."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | QUIET


class MlflowStore:
    """The run of an experiment in MLflow, found again by its tag, so that each attempt goes on in it."""

    def __init__(self, run: TrackedRun) -> None:
        self._of = run
        self._client: MlflowClient
        self._id = ""

    def open(self) -> Logged:
        """Makes the database where there is none, and begins the run or goes on in it."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        of = self._of
        of.workspace.tracking.mkdir(parents=True, exist_ok=True)
        with exclusive(of.workspace.locks / "tracking-mlflow.lock"):  # two at once would both make the tables
            self._client = MlflowClient(database_url(of.workspace))
            group = self._group()
        found = self._client.search_runs([group], f"tags.`{_EXPERIMENT}` = '{of.run_id}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._begin(group)
        parameters = [Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in flat(of.config).items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=parameters[first : first + _MOST_PARAMETERS])
        return self._logged()

    def log(self, points: Sequence[Point]) -> None:
        """Adds the points, each with its own time; the same point again changes nothing."""
        from mlflow.entities import Metric

        logged, metrics = self._logged(), []
        for point in points:
            at = round(point.time.timestamp() * 1000)
            metrics += [Metric(name, value, at, point.step) for name, value in point.values.items()]
            logged = logged.and_then(point)
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + _MOST_METRICS])
        self._client.set_tag(self._id, _LOGGED, f"{logged.step} {logged.validated_step}")

    def end(self) -> None:
        """Adds summary, dataset and files, and ends the run."""
        of, client = self._of, self._client
        summary = of.summary()
        for name, value in summary.items():
            if isinstance(value, int | float):
                client.log_metric(self._id, f"summary/{name}", float(value))
            else:
                client.set_tag(self._id, f"arc.{name}", str(value)[:_LONGEST_TAG])
        dataset, checkpoint = of.dataset(), of.checkpoint()
        if dataset is not None:
            self._keep(dataset)
        if checkpoint is not None:
            client.log_artifact(self._id, str(checkpoint), "checkpoint")
        client.set_terminated(self._id, _ENDS.get(of.status, "KILLED"))

    def close(self) -> None:
        """Nothing is held open."""

    def _group(self) -> str:
        """The id of MLflow's experiment, which is this project."""
        name = self._of.settings.project
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = artifacts_folder(self._of.workspace).as_uri()
        return str(self._client.create_experiment(name, artifact_location=place, tags=_KIND))

    def _begin(self, group: str) -> str:
        of = self._of
        tags = {
            _EXPERIMENT: of.run_id,
            "arc.status": LOST,
            "arc.task": str(of.spec.task),
            "arc.dataset": f"{of.spec.dataset}/{of.spec.prepared_key}",
            "arc.folder": str(of.experiment.folder),
        }
        run = self._client.create_run(group, run_name=of.run_id, tags=tags)
        return str(run.info.run_id)

    def _logged(self) -> Logged:
        step, validated = self._client.get_run(self._id).data.tags.get(_LOGGED, "-1 -1").split()
        return Logged(int(step), int(validated))

    def _keep(self, dataset: DatasetReference) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = Dataset(
            name=dataset.name,
            digest=dataset.manifest_sha256[:36],
            source_type="local",
            source=str(dataset.folder),
            profile=f'{{"prepared_key": "{dataset.key}", "manifest_sha256": "{dataset.manifest_sha256}"}}',
        )
        tag: Any = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(self._id, datasets=[DatasetInput(described, [tag])])
        for path in dataset.files:
            self._client.log_artifact(self._id, str(path), "dataset")
        if self._of.settings.log_photographs:
            for folder in dataset.pictures:
                self._client.log_artifacts(self._id, str(folder), f"dataset/{folder.name}")
