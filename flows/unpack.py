"""Unpack an archive of photographs."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import UnpackConfig
from flows.resolve import workspace_of
from flows.results import StageResult
from tasks import unpack as stage


@flow(name="unpack", flow_run_name="unpack-{config.archive.name}")
def unpack(config: UnpackConfig) -> StageResult:
    """Unpack an archive of photographs, checking every member on the way."""
    return StageResult.of(stage.unpack(config.archive, workspace_of(config), config.unpack))


if __name__ == "__main__":
    sys.exit(main(unpack, UnpackConfig))
