"""Judge an unpacked archive, a dataset, or a prepared dataset."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import ValidateConfig
from flows.drift import drift_against_reference, require_reference
from flows.resolve import dataset_folder, prepared_folder, unpacked_for, workspace_of
from flows.results import StageResult
from glaucoma.datasets.validation_settings import Target
from tasks import validate as stage


@flow(name="validate", flow_run_name="validate-{config.name}")
def validate(config: ValidateConfig) -> StageResult:
    """Judge with Great Expectations; a critical failure is an error that lists all of them.

    A dataset is also compared with the reference, if one is named.
    """
    workspace, name = workspace_of(config), config.name
    if config.what is Target.RAW:
        unpacked = unpacked_for(workspace, name, config.key)
        return StageResult.of(stage.validate_raw(unpacked, name, workspace, config.validation))
    if config.what is Target.PREPARED:
        prepared = prepared_folder(workspace, name, config.key)
        return StageResult.of(stage.validate_prepared(prepared, name, workspace, config.validation))
    require_reference(workspace, config.drift)
    dataset = dataset_folder(workspace, name, config.key)
    validated = stage.validate(dataset, name, workspace, config.validation)
    drift_against_reference(validated, dataset.name, name, workspace, config.drift)
    return StageResult.of(validated)


if __name__ == "__main__":
    sys.exit(main(validate, ValidateConfig))
