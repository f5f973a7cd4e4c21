"""Take up what a crashed run was doing."""

from __future__ import annotations

import sys
from datetime import timedelta

from prefect import flow

from flows.cli import main
from flows.configs_machine import RecoverConfig
from flows.queues import ANY, URGENT, instead_of, queue_name
from flows.resolve import workspace_of
from flows.results_machine import RecoverResult
from tasks.recover import RecoverOptions, missed_crashes, recover_run


@flow(name="recover", flow_run_name="recover-{config.named}")
def recover(config: RecoverConfig) -> RecoverResult:
    """Start one new run of `resume` for each experiment that a lost run trained; a cycle is started again whole."""
    options = RecoverOptions(
        delay_s=config.delay_s,
        most_per_experiment=config.most_per_experiment,
        most_again=config.most_again,
        queue=queue_name(URGENT, ANY),
        instead=instead_of,
    )
    workspace = workspace_of(config)
    crashed = [config.flow_run] if config.flow_run else missed_crashes(workspace, timedelta(hours=config.look_back_h))
    states = [recover_run(run, workspace, options, return_state=True) for run in crashed]
    done = [one for state in states if (one := state.result()) is not None]  # one that failed keeps none from its turn
    return RecoverResult(
        flow_run=config.flow_run,
        taken_up=bool(done),
        experiments=[name for one in done for name in one.experiments],
        again=any(one.again for one in done),
        left={name: why for one in done for name, why in one.left.items()},
        started=[run for one in done for run in one.started],
    )


if __name__ == "__main__":
    sys.exit(main(recover, RecoverConfig))
