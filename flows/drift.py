"""Compare a dataset with a reference."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import DriftConfig
from flows.resolve import dataset_folder, workspace_of
from flows.results import StageResult
from glaucoma.datasets.drift import reference_validation
from glaucoma.datasets.drift_settings import DriftSettings
from glaucoma.provenance import StageOutput
from glaucoma.workspace import Workspace
from tasks import drift as stage
from tasks import validate


@flow(name="drift", flow_run_name="drift-{config.name}")
def drift(config: DriftConfig) -> StageResult:
    """Validate a dataset, unless that was done, and compare it with the reference.

    A drift is a warning, or an error where the gate is `stop`.
    """
    workspace, name = workspace_of(config), config.name
    require_reference(workspace, config.drift)
    dataset = dataset_folder(workspace, name, config.dataset)
    validated = validate.validate(dataset, name, workspace, config.validation)
    output = drift_against_reference(validated, dataset.name, name, workspace, config.drift)
    return StageResult.of(output if output is not None else validated)


def require_reference(workspace: Workspace, settings: DriftSettings) -> None:
    """Fails at once where the reference is not there, and not after all that comes before the comparison."""
    if settings.wanted:
        reference_validation(workspace, settings.reference)


def drift_against_reference(
    validated: StageOutput, dataset_key: str, name: str, workspace: Workspace, settings: DriftSettings
) -> StageOutput | None:
    """The comparison with the reference; None where none is named, or the gate is off."""
    if not settings.wanted:
        return None
    reference = reference_validation(workspace, settings.reference, besides=dataset_key)
    output: StageOutput = stage.drift(validated.folder, reference, name, workspace, settings)
    return output


if __name__ == "__main__":
    sys.exit(main(drift, DriftConfig))
