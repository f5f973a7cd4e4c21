"""A batch of experiments that people ask for: checked as a whole, before the first of them runs."""

from __future__ import annotations

from collections.abc import Mapping

from glaucoma.errors import InputError, SettingsError
from glaucoma.planning.settings import Rules
from glaucoma.training.build import build_model
from glaucoma.training.experiment import Experiment, is_there
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.training.supervise import is_complete
from glaucoma.workspace import Workspace

_MOST_TOLD = 20


def require_runnable(
    specs: Mapping[int, ExperimentSpec], refused: Mapping[int, str] | None = None, rules: Rules | None = None
) -> None:
    """Refuses a batch in which an experiment is there twice, names an unknown network, or breaks a rule.

    Args:
        specs: By the experiment's number in the batch.
        refused: Numbers of the others -> why they could not even be described.
        rules: None: none are checked.

    Raises:
        SettingsError: Names each experiment that cannot run, with all that was found.
    """
    found = {number: [why] for number, why in (refused or {}).items()}
    first: dict[str, int] = {}
    networks: dict[tuple[object, ...], str] = {}
    for number, spec in specs.items():
        network = (spec.task, spec.model, spec.decoder_channels, spec.input_px, spec.clinical)
        if network not in networks:
            networks[network] = _obstacle(spec)
        broken = [networks[network], *(rules.broken_by(spec) if rules else [])]
        name = experiment_id(spec)
        if first.setdefault(name, number) != number:
            broken.append(f"it is the same experiment as {first[name]} ({name})")
        if broken := [one for one in broken if one]:
            found[number] = broken
    if found:
        told = [f"{number}: {'; '.join(why)}" for number, why in sorted(found.items())]
        more = f" | and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        raise SettingsError(
            f"{len(found)} of {len(specs) + len(refused or {})} experiments cannot run "
            f"({' | '.join(told[:_MOST_TOLD])}{more})",
            consequence="None was submitted",
            remedy="correct or remove those that are named",
        )


def _obstacle(spec: ExperimentSpec) -> str:
    """Why the network cannot be built; empty where it can. Weights are looked for by the run, on its own machine."""
    try:
        build_model(spec, pretrained=False)
    except InputError as error:
        return str(error)
    return ""


def is_done(name: str, workspace: Workspace) -> bool:
    """True where the experiment of that id is trained, and its checkpoint is still what was written."""
    return is_there(name, workspace) and is_complete(Experiment(workspace.experiments / name))
