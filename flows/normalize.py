"""Make a dataset of an unpacked archive."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import NormalizeConfig
from flows.resolve import unpacked_output, workspace_of
from flows.results import StageResult
from tasks import normalize as stage


@flow(name="normalize", flow_run_name="normalize-{config.name}")
def normalize(config: NormalizeConfig) -> StageResult:
    """Make a dataset in the canonical form of an unpacked archive, split by patient."""
    workspace = workspace_of(config)
    unpacked = unpacked_output(workspace, config.unpacked)
    return StageResult.of(stage.normalize(unpacked, config.name, workspace, config.normalize))


if __name__ == "__main__":
    sys.exit(main(normalize, NormalizeConfig))
