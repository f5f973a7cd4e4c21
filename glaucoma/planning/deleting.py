"""Experiments that a person wants gone: looked at first, all together, and never one that is still needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from glaucoma.errors import InputError, NotFoundError
from glaucoma.planning.archive import pack_path
from glaucoma.planning.housekeeping import last_change, remove_planned, size
from glaucoma.planning.removal import Done, Removal
from glaucoma.planning.wanted import wanted_experiments
from glaucoma.provenance import exclusive, sync_folder
from glaucoma.records.ledger import Ledger
from glaucoma.training.claims import is_trained_now
from glaucoma.training.experiment import Experiment, list_experiments
from glaucoma.workspace import Workspace


class StillNeededError(InputError):
    """Some of what should go is needed; nothing was removed."""


@dataclass(frozen=True)
class Deletion:
    """What would go, and what may not."""

    removals: list[Removal]
    refused: dict[str, str]
    """Experiment -> why it stays."""


def plan_deletion(names: Sequence[str], workspace: Workspace, ledger: Ledger, reason: str) -> Deletion:
    """What of these experiments may go, in the workspace or packed away; nothing is touched.

    Args:
        reason: Of who wants it; the ledger keeps it.

    Raises:
        NotFoundError: One of them is in neither place.
        IntegrityError: A cycle's plan or record cannot be read, so that it is not known what it needs.
    """
    wanted = wanted_experiments(workspace, ledger)
    there = {experiment.experiment_id: experiment for experiment in list_experiments(workspace)}
    removals, refused = [], {}
    for name in dict.fromkeys(names):
        path = pack_path("experiment", name, workspace)
        if name not in there and not path.is_file():
            known = ", ".join(there) or "none"
            raise NotFoundError(f"No experiment {name!r} in {workspace.root}", expected=f"one of: {known}")
        if why := wanted.get(name):
            refused[name] = why
        elif name in there and is_trained_now(there[name], workspace):
            refused[name] = "is being trained"
        else:
            places = [there[name].folder] if name in there else []
            for place in [*places, *([path] if path.is_file() else [])]:
                removals.append(
                    Removal(
                        kind="experiment",
                        path=str(place.relative_to(workspace.root)),
                        experiment_id=name,
                        why=reason,
                        bytes=size(place),
                        changed_at=last_change(place),
                    )
                )
    return Deletion(removals, refused)


def delete_planned(plan: Deletion, workspace: Workspace, ledger: Ledger, *, now: datetime) -> Done:
    """Removes what the plan says; the ledger keeps each row, with the reason.

    Raises:
        StillNeededError: One of them may not go; then none does.
    """
    if plan.refused:
        said = "; ".join(f"{name} {why}" for name, why in plan.refused.items())
        raise StillNeededError(
            f"{len(plan.refused)} of the experiments may not be deleted ({said})",
            consequence="Nothing was removed",
            remedy="leave them out; one that nobody will miss can be packed away instead (archive with force)",
        )
    packs = [one for one in plan.removals if one.path.startswith(f"{workspace.archived.name}/")]
    done = remove_planned([one for one in plan.removals if one not in packs], workspace, ledger, now=now)
    for one in packs:
        _remove_pack(one, workspace, ledger, now)
    return Done(removed=[*done.removed, *(one.path for one in packs)], left=done.left)


def _remove_pack(one: Removal, workspace: Workspace, ledger: Ledger, now: datetime) -> None:
    path = workspace.root / one.path
    with exclusive(workspace.locks / f"create-{one.experiment_id}.lock"):
        if not Experiment(workspace.experiments / one.experiment_id).folder.exists():
            try:
                entry = ledger.experiment(one.experiment_id)
            except NotFoundError:
                pass  # never in this ledger: there is nothing to say it of
            else:
                said = f"{entry.reason} Its pack was removed on {now:%Y-%m-%d}: {one.why.rstrip('. ')}.".strip()
                ledger.change(one.experiment_id, reason=said)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
