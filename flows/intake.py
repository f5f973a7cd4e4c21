"""From an archive to a dataset that is ready for experiments."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import IntakeConfig
from flows.drift import drift_against_reference, require_reference
from flows.resolve import kept_in_its_block, remote_of, workspace_of
from flows.results import IntakeResult, StageResult
from tasks import normalize, preprocess, register, unpack, validate


@flow(name="intake", flow_run_name="intake-{config.name}")
def intake(config: IntakeConfig) -> IntakeResult:
    """Unpack, normalize, preprocess and register, each validated; what is there already is not made again."""
    workspace, name = workspace_of(config), config.name
    remote_of(config.registry)  # a block that is missing is told before any work
    require_reference(workspace, config.drift)
    unpacked = unpack.unpack(config.archive, workspace, config.unpack)
    dataset = normalize.normalize(unpacked, name, workspace, config.normalize)
    # After normalize, whose error about an unknown layout should not wait for Great Expectations to be loaded.
    raw = validate.validate_raw(unpacked, name, workspace, config.validation)
    validated = validate.validate(dataset.folder, name, workspace, config.validation)
    compared = drift_against_reference(validated, dataset.key, name, workspace, config.drift)
    prepared = preprocess.preprocess(dataset.folder, name, workspace, config.preprocess)
    checked = validate.validate_prepared(prepared.folder, name, workspace, config.validation)
    kept = kept_in_its_block(workspace, name, dataset.key, prepared.key, config.registry)
    entry = register.register(dataset.folder, prepared.folder, name, workspace, kept, remote_of(kept))
    done = (unpacked, dataset, raw, validated, compared, prepared, checked)
    return IntakeResult(
        name=name,
        dataset_key=dataset.key,
        prepared_key=prepared.key,
        prepared=prepared.folder,
        stages=[StageResult.of(output) for output in done if output is not None],
        registered_version=entry.version,
    )


if __name__ == "__main__":
    sys.exit(main(intake, IntakeConfig))
