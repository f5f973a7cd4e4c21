"""What Prefect adds to the work of a cycle: intake and an experiment as flows, against the functions that they call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Candidate, Comparison
from benchmarks.place import Place

if TYPE_CHECKING:
    from flows.configs import ExperimentConfig, IntakeConfig

_PATIENTS = 80
"""160 photographs, as in `make cycle`."""
_NAME = "generated"


def benchmark(place: Place) -> Iterator[Comparison]:
    """In one process, in turns, each round in an empty workspace; the smoke preset, with all that it validates."""
    os.environ["PREFECT_HOME"] = str(place.empty("prefect"))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from prefect.testing.utilities import prefect_test_harness

    from flows.experiment import experiment
    from flows.intake import intake
    from glaucoma.synthetic.generate import generate_archive
    from glaucoma.synthetic.settings import SyntheticSettings

    archive = generate_archive(place.root / "smoke.zip", SyntheticSettings.for_preset("smoke", patients=_PATIENTS)).path
    root = place.root / "cycle"

    def empty() -> None:
        place.empty("cycle")

    def as_flows() -> None:
        intake(_intake(archive, root))
        experiment(_experiment(root))

    def as_calls() -> None:
        _take_in(_intake(archive, root))
        _run(_experiment(root))

    with prefect_test_harness(server_startup_timeout=120):
        yield Comparison(
            "Prefect: intake and one experiment",
            Candidate("as flows", as_flows, before=empty),
            (Candidate("limit: the same functions, called", as_calls, before=empty),),
            f"{2 * _PATIENTS} photographs, 7 stages of intake, a classifier trained, measured and explained",
            rounds=3,
        )


def _intake(archive: Path, root: Path) -> IntakeConfig:
    from flows.configs import IntakeConfig

    settings: dict[str, Any] = {"archive": archive, "workspace": root, "name": _NAME, "preset": "smoke"}
    return IntakeConfig.model_validate(settings)


def _experiment(root: Path) -> ExperimentConfig:
    from flows.configs import ExperimentConfig

    train = {"execution": {"device": "cpu", "threads": 1}}
    return ExperimentConfig.model_validate({"workspace": root, "name": _NAME, "preset": "smoke", "train": train})


def _take_in(config: IntakeConfig) -> None:
    """The stages of `flows.intake`."""
    from flows.resolve import workspace_of
    from glaucoma.archives.unpack import unpack
    from glaucoma.datasets.normalize import normalize
    from glaucoma.datasets.registering import register
    from glaucoma.datasets.validate import validate
    from glaucoma.datasets.validate_raw import validate_raw
    from glaucoma.preprocessing.preprocess import preprocess
    from glaucoma.preprocessing.validate_prepared import validate_prepared

    workspace, name = workspace_of(config), config.name
    unpacked = unpack(config.archive, workspace, config.unpack)
    dataset = normalize(unpacked, name, workspace, config.normalize)
    validate_raw(unpacked, name, workspace, config.validation)
    validate(dataset.folder, name, workspace, config.validation)
    prepared = preprocess(dataset.folder, name, workspace, config.preprocess)
    validate_prepared(prepared.folder, name, workspace, config.validation)
    register(dataset.folder, prepared.folder, name, workspace, config.registry)


def _run(config: ExperimentConfig) -> None:
    """The stages of `flows.experiment`."""
    from flows.resolve import prepared_folder, workspace_of
    from glaucoma.evaluation.evaluate import evaluate
    from glaucoma.explanation.explain import explain
    from glaucoma.schema import Split
    from glaucoma.training.spec import spec_from
    from glaucoma.training.supervise import train

    workspace = workspace_of(config)
    prepared = prepared_folder(workspace, config.name, None)
    spec = spec_from(config.train, config.task, config.name, prepared.name)
    experiment = train(spec, workspace, config.train.execution)
    evaluate(experiment, workspace, config.evaluate, split=Split.VAL)
    explain(experiment, workspace, config.explain, split=Split.VAL)
