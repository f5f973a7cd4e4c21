"""Give a GPU of this machine work again."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_machine import UndrainConfig
from flows.queues import GPU_POOL
from flows.resolve import workspace_of
from flows.results_machine import UndrainResult
from glaucoma.machine.drained import this_host
from tasks.drain import require_here, undrain_gpu


@flow(name="undrain", flow_run_name="undrain-{config.named}")
def undrain(config: UndrainConfig) -> UndrainResult:
    """Take the mark away, and resume the queues that were paused with it."""
    require_here(config.host, config.gpu)
    was, resumed = undrain_gpu(workspace_of(config), config.gpu, GPU_POOL)
    return UndrainResult(host=this_host(), gpu=config.gpu, was_drained=was, resumed=resumed)


if __name__ == "__main__":
    sys.exit(main(undrain, UndrainConfig))
