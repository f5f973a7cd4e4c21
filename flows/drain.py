"""Give a GPU of this machine no new work, and end the run that is on it where that is wanted."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_machine import DrainConfig
from flows.queues import ANY, GPU_POOL, URGENT, instead_of, queue_name, queue_names
from flows.resolve import workspace_of
from flows.results_machine import DrainResult
from glaucoma.machine.drained import this_host
from glaucoma.workspace import Workspace
from tasks.drain import drain_gpu, end_runs_on, require_here
from tasks.recover import RecoverOptions

_DELAY_S = 0.0
"""The run's processes are gone when its successor is made."""


@flow(name="drain", flow_run_name="drain-{config.named}")
def drain(config: DrainConfig) -> DrainResult:
    """Mark the GPU and pause its own queues; with `end_run` end what is on it, which goes on elsewhere."""
    require_here(config.host, config.gpu)
    workspace = workspace_of(config)
    if config.end_run:
        return drain_and_end(workspace, config.gpu, config.reason, config.end_grace_s, None if config.resume else 0)
    return drain_only(workspace, config.gpu, config.reason)


def drain_only(workspace: Workspace, gpu: int, reason: str) -> DrainResult:
    """Marks the GPU; what is on it ends by itself."""
    mark, paused = drain_gpu(workspace, gpu, reason, GPU_POOL, queue_names([f"gpu{gpu}"]))
    return DrainResult(host=this_host(), gpu=gpu, reason=mark.reason, paused=paused, ended=[], started=[])


def drain_and_end(
    workspace: Workspace, gpu: int, reason: str, grace_s: float, most_per_experiment: int | None
) -> DrainResult:
    """Marks the GPU and ends what is on it.

    Args:
        grace_s: How long a run may take to save its training.
        most_per_experiment: So often an experiment is taken up in all; 0: never; None: as often as a person wants it,
            a whole cycle or planned experiment too.
    """
    mark, paused = drain_gpu(workspace, gpu, reason, GPU_POOL, queue_names([f"gpu{gpu}"]))
    options = RecoverOptions(
        delay_s=_DELAY_S,
        most_per_experiment=most_per_experiment,
        most_again=None if most_per_experiment is None else 1,
        queue=queue_name(URGENT, ANY),
        instead=instead_of,
    )
    ended, recoveries = end_runs_on(workspace, gpu, reason, grace_s, None if most_per_experiment == 0 else options)
    started = [run for one in recoveries for run in one.started]
    return DrainResult(host=this_host(), gpu=gpu, reason=mark.reason, paused=paused, ended=ended, started=started)


if __name__ == "__main__":
    sys.exit(main(drain, DrainConfig))
