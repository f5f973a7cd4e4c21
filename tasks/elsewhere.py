"""Between workspaces that share no disk: prepared datasets by key, experiments by id, through a remote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect.logging import get_run_logger

from tasks.stage import ProgressArtifact, artifact_key, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.remote import Remote
    from glaucoma.training.experiment import Experiment
    from glaucoma.workspace import Workspace

_LONGEST_S = 4 * 3600


@stage_task(run_name="fetch {name} {key}", timeout_s=_LONGEST_S, first_delay_s=10)
def fetch_prepared(name: str, key: str, workspace: Workspace, remote: Remote | None, block: str | None) -> Any:
    """Brings a prepared dataset from the remote, every byte checked."""
    from glaucoma.datasets.fetching import fetch_prepared as fetch

    progress = ProgressArtifact(artifact_key("fetch", name), f"Fetching {name} {key}")
    folder = fetch(name, key, workspace, remote=remote, remote_block=block, report=progress)
    get_run_logger().info("%s %s is in %s", name, key, folder)
    return folder


@stage_task(run_name="fetch {name}", timeout_s=_LONGEST_S, first_delay_s=10)
def fetch_experiment(name: str, workspace: Workspace, remote: Remote) -> Any:
    """Brings an experiment from the remote, every byte checked."""
    from glaucoma.records.shipping import fetch_experiment as fetch

    experiment = fetch(name, workspace, remote, report=ProgressArtifact(artifact_key("fetch", name), "Fetching"))
    get_run_logger().info("%s is in %s", name, experiment.folder)
    return experiment


@stage_task(run_name="send {experiment.experiment_id}", timeout_s=_LONGEST_S, first_delay_s=10)
def send_experiment(experiment: Experiment, workspace: Workspace, remote: Remote) -> Any:
    """Sends an experiment's model, results and logs to the remote."""
    from glaucoma.records.shipping import ship

    name = experiment.experiment_id
    progress = ProgressArtifact(artifact_key("send", name), f"Sending {name}")
    shipment = ship(experiment, workspace, remote, at=datetime.now(UTC), report=progress)
    get_run_logger().info("%s is at %s: %d files, %d sent", name, remote, len(shipment.files), shipment.sent)
    return shipment
