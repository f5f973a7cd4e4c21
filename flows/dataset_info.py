"""Say all that is known of one registered version."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import DatasetInfoConfig
from flows.resolve import workspace_of
from flows.results import show_dataset_info
from glaucoma.datasets.versions import DatasetInfo
from tasks import register as stage


@flow(name="dataset-info", flow_run_name="dataset-info-{config.name}")
def dataset_info(config: DatasetInfoConfig) -> DatasetInfo:
    """Say what a registered version holds, what it was made from, where it lies, and how it was judged."""
    info: DatasetInfo = stage.dataset_info(config.name, config.version, workspace_of(config))
    return info


if __name__ == "__main__":
    sys.exit(main(dataset_info, DatasetInfoConfig, show=show_dataset_info))
