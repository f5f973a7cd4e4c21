"""Take up what a crashed run was doing."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_machine import RecoverConfig
from flows.queues import ANY, URGENT, instead_of, queue_name
from flows.resolve import workspace_of
from flows.results_machine import RecoverResult
from tasks.recover import RecoverOptions, recover_run


@flow(name="recover", flow_run_name="recover-{config.named}")
def recover(config: RecoverConfig) -> RecoverResult:
    """Start one new run of `resume` for each experiment that the run was training; a cycle is started again whole."""
    options = RecoverOptions(
        delay_s=config.delay_s,
        most_per_experiment=config.most_per_experiment,
        most_again=config.most_again,
        queue=queue_name(URGENT, ANY),
        instead=instead_of,
    )
    done = recover_run(config.flow_run, workspace_of(config), options)
    if done is None:
        return RecoverResult(flow_run=config.flow_run, taken_up=False)
    return RecoverResult(
        flow_run=config.flow_run,
        taken_up=True,
        experiments=list(done.experiments),
        again=done.again,
        left=done.left,
        started=list(done.started),
    )


if __name__ == "__main__":
    sys.exit(main(recover, RecoverConfig))
