"""Pack an experiment away, or bring it back."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs_control import ArchiveConfig
from flows.resolve import workspace_of
from flows.results_control import show_archive
from glaucoma.planning.archive import Archived
from tasks import archive as stage


@flow(name="archive", flow_run_name="archive-{config.named}")
def archive(config: ArchiveConfig) -> Archived:
    """Pack an experiment away into one checked file, or bring it back."""
    done: Archived = stage.archive_experiment(config.experiment, workspace_of(config), config.force, config.back)
    return done


if __name__ == "__main__":
    sys.exit(main(archive, ArchiveConfig, show=show_archive))
