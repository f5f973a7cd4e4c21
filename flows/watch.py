"""Watch this machine: read, keep, tell what changed, drain GPUs that hang, show."""

from __future__ import annotations

import sys

from prefect import flow
from prefect.logging import get_run_logger

from flows.cli import main
from flows.configs_machine import WatchConfig
from flows.drain import drain_and_end, drain_only
from flows.resolve import workspace_of
from flows.results_machine import WatchResult, show_watch
from glaucoma.machine.readings import Reading
from glaucoma.machine.store import only_watch, store_path
from glaucoma.workspace import Workspace
from tasks.watch import judge_machine, remember_told, show_machine, take_readings, tell_changes


@flow(name="watch")
def watch(config: WatchConfig) -> WatchResult:
    """Watch this machine for a while; at once where another run does."""
    workspace = workspace_of(config)
    with only_watch(workspace) as alone:
        if not alone:
            get_run_logger().info("Another run watches this machine; nothing is done")
            return WatchResult(alone=False)
        return watch_alone(config, workspace)


def watch_alone(config: WatchConfig, workspace: Workspace) -> WatchResult:
    """For who holds the turn. What is told is kept in mind last: what is cut off is told again."""
    readings, log = take_readings(workspace, config.watch)
    last: Reading = readings[-1]
    states, changes = judge_machine(workspace, readings, log, config.watch)
    tell_changes(changes, last.host)
    broken = {change.gpu: change.message for change in changes if change.drains and change.gpu is not None}
    ending = {change.gpu: change.message for change in changes if change.ends and change.gpu is not None}
    if config.watch.hangs.drain:
        for gpu, reason in broken.items():
            if gpu in ending:
                drain_and_end(workspace, gpu, ending[gpu], config.watch.hangs.end_grace_s, config.most_recoveries)
            else:
                drain_only(workspace, gpu, reason)
    remember_told(workspace, states)
    size = show_machine(workspace, last, log, config.watch)
    return WatchResult(
        alone=True,
        reading=last,
        changes=[change.message for change in changes],
        drained=sorted(broken) if config.watch.hangs.drain else [],
        store=store_path(workspace),
        store_bytes=size,
    )


if __name__ == "__main__":
    sys.exit(main(watch, WatchConfig, show=show_watch))
