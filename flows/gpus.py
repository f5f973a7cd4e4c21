"""Show the GPUs of this machine."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_machine import GpusConfig
from flows.resolve import workspace_of
from flows.results_machine import GpusResult, show_gpus
from tasks.gpus import look_at_gpus


@flow(name="gpus")
def gpus(config: GpusConfig) -> GpusResult:
    """Show the GPUs: figures, what each is for, whether it takes work, and what works on it."""
    reading, states = look_at_gpus(workspace_of(config))
    return GpusResult(host=reading.host, driver=reading.driver, no_gpus=reading.no_gpus, gpus=states)


if __name__ == "__main__":
    sys.exit(main(gpus, GpusConfig, show=show_gpus))
