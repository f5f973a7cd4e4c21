"""From an archive to a dataset that is ready for experiments."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import IntakeConfig
from flows.resolve import workspace_of
from flows.results import IntakeResult, StageResult
from tasks import normalize, preprocess, register, unpack, validate


@flow(name="intake", flow_run_name="intake-{config.name}")
def intake(config: IntakeConfig) -> IntakeResult:
    """Unpack, normalize, validate, preprocess and register; what is there already is not made again."""
    workspace, name = workspace_of(config), config.name
    unpacked = unpack.unpack(config.archive, workspace, config.unpack)
    dataset = normalize.normalize(unpacked, name, workspace, config.normalize)
    validated = validate.validate(dataset.folder, name, workspace, config.validation)
    prepared = preprocess.preprocess(dataset.folder, name, workspace, config.preprocess)
    entry = register.register(dataset.folder, prepared.folder, name, workspace, config.registry)
    return IntakeResult(
        name=name,
        dataset_key=dataset.key,
        prepared_key=prepared.key,
        prepared=prepared.folder,
        stages=[StageResult.of(output) for output in (unpacked, dataset, validated, prepared)],
        registered_version=entry.version,
    )


if __name__ == "__main__":
    sys.exit(main(intake, IntakeConfig))
