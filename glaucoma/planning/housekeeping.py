"""Housekeeping of experiments: what may go, as one plan; and its doing, each removal judged once more just before.

Only experiments are looked at: archives, datasets and what was prepared of them are another question, as they can be
made again only while their archives are there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from glaucoma.errors import IntegrityError, NotFoundError
from glaucoma.planning.removal import Done, Removal
from glaucoma.planning.retention import RetentionSettings
from glaucoma.planning.wanted import wanted_experiments
from glaucoma.provenance import exclusive
from glaucoma.records.ledger import Ledger
from glaucoma.records.remember import remember
from glaucoma.records.words import Standing
from glaucoma.training.claims import claimed, is_trained_now
from glaucoma.training.experiment import REMOVED, Experiment, Metadata, Status, remove_held
from glaucoma.workspace import Workspace

_GB = 1e9
_WRITER = re.compile(r"\.partial-(\d+)$")


@dataclass(frozen=True)
class _Found:
    """An experiment's folder as it is now."""

    experiment: Experiment
    metadata: Metadata | None
    changed_at: datetime
    bytes: int
    stays: str
    """Why it stays whatever its age or size; empty where nothing holds it."""

    @property
    def name(self) -> str:
        return self.experiment.experiment_id


def plan_removals(workspace: Workspace, ledger: Ledger, settings: RetentionSettings, *, now: datetime) -> list[Removal]:
    """What may go and why, experiments first; nothing is touched.

    Raises:
        IntegrityError: A cycle's plan or record cannot be read, so that it is not known what it needs.
    """
    wanted = wanted_experiments(workspace, ledger)
    found = [_look(folder, workspace, wanted, settings, now) for folder in _folders(workspace)]
    reasons = _reasons(found, ledger, settings, now)
    plan = [_removal("experiment", one.experiment.folder, one, reasons[one.name], workspace)
            for one in found if one.name in reasons]  # fmt: skip
    kept = [one for one in found if one.name not in reasons]
    return [*plan, *_leftovers(kept, workspace, settings, now), *_cut_off(workspace)]


def remove_planned(plan: list[Removal], workspace: Workspace, ledger: Ledger, *, now: datetime) -> Done:
    """Does the plan and nothing else. What was wanted, locked or changed since is left, with the reason.

    The ledger learns of each experiment's removal before it happens, and keeps its row.
    """
    removed: list[str] = []
    left: dict[str, str] = {}
    for one in plan:
        obstacle = _remove(one, workspace, ledger, now)
        if obstacle:
            left[one.path] = obstacle
        else:
            removed.append(one.path)
    return Done(removed=removed, left=left)


# --- what may go


def _folders(workspace: Workspace) -> list[Path]:
    there = workspace.experiments.glob("*") if workspace.experiments.is_dir() else ()
    return sorted(path for path in there if path.is_dir() and not path.is_symlink() and path.name[0] != ".")


def _look(
    folder: Path, workspace: Workspace, wanted: Mapping[str, str], settings: RetentionSettings, now: datetime
) -> _Found:
    experiment = Experiment(folder)
    changed_at = last_change(folder)
    stays = wanted.get(experiment.experiment_id, "")
    if not stays and is_trained_now(experiment, workspace):
        stays = "is being trained"
    if not stays and now - changed_at < timedelta(days=settings.grace_days):
        stays = f"changed less than {settings.grace_days:g} days ago"
    return _Found(experiment, _metadata(experiment), changed_at, size(folder), stays)


def _reasons(found: list[_Found], ledger: Ledger, settings: RetentionSettings, now: datetime) -> dict[str, str]:
    """Experiment -> why it may go: the first rule that it meets."""
    free = [one for one in found if not one.stays]
    reasons: dict[str, str] = {}
    for one in free:
        broken = broken_because(one.experiment, one.metadata, ledger) if settings.remove_broken else ""
        days = (now - one.changed_at).total_seconds() / 86_400
        if broken:
            reasons[one.name] = broken
        elif settings.max_age_days is not None and days > settings.max_age_days:
            reasons[one.name] = f"unchanged for {days:.0f} days, more than {settings.max_age_days:g} (max_age_days)"
    if settings.keep_newest is not None:
        for one in _beyond(settings.keep_newest, [f for f in found if f.name not in reasons]):
            if not one.stays:
                reasons[one.name] = f"not among the newest {settings.keep_newest} of its task and dataset (keep_newest)"
    if settings.max_total_gb is not None:
        total = sum(one.bytes for one in found if one.name not in reasons)
        for one in sorted(free, key=lambda f: (f.changed_at, f.name)):
            if total > settings.max_total_gb * _GB and one.name not in reasons:
                reasons[one.name] = f"all together are more than {settings.max_total_gb:g} GB (max_total_gb)"
                total -= one.bytes
    return reasons


def broken_because(experiment: Experiment, metadata: Metadata | None, ledger: Ledger) -> str:
    """Why the experiment is broken for good; empty where it is not.

    That is: nothing can go on from it, and nobody will try. Its run gave up where it failed by itself, or where the
    ledger has it as interrupted: a flow writes that after its last retry only.
    """
    from glaucoma.training.checkpoints import BEST, LAST, PREVIOUS, Checkpoints  # imports torch: seconds

    if metadata is None and not experiment.metadata_path.is_file():
        return "broken: it was never made to its end"
    if metadata is not None and metadata.status is Status.INTERRUPTED:
        try:
            gave_up = ledger.experiment(experiment.experiment_id).status in (Standing.INTERRUPTED, Standing.FAILED)
        except NotFoundError:
            gave_up = False
    else:
        gave_up = metadata is None or metadata.status is Status.FAILED
    checkpoints = Checkpoints(experiment.checkpoints)
    if not gave_up or any(checkpoints.intact(name) for name in (LAST, PREVIOUS, BEST)):
        return ""
    said = "its metadata cannot be read" if metadata is None else metadata.history[-1].reason or metadata.status.value
    return f"broken: no valid checkpoint, and {said}"


def _beyond(number: int, found: list[_Found]) -> Iterator[_Found]:
    """Of each task and dataset all but the newest."""
    groups: dict[tuple[str, str], list[_Found]] = defaultdict(list)
    for one in found:
        if one.metadata is not None:
            groups[one.metadata.task, one.metadata.dataset].append(one)
    for group in groups.values():
        yield from sorted(group, key=lambda f: (f.changed_at, f.name), reverse=True)[number:]


def _leftovers(
    kept: list[_Found], workspace: Workspace, settings: RetentionSettings, now: datetime
) -> Iterator[Removal]:
    """Of experiments that stay: what writers left half-written, and damaged checkpoints."""
    if settings.leftover_days is None:
        return
    for one in kept:
        for path in sorted(one.experiment.folder.rglob("*")):
            why = _leftover_because(path)
            if why and now - last_change(path) > timedelta(days=settings.leftover_days):
                yield _removal("leftover", path, one, why, workspace)


def _leftover_because(path: Path) -> str:
    if ".damaged-" in path.name:
        return "a damaged checkpoint that was set aside"
    writer = _WRITER.search(path.name)
    if writer is None or not path.name.startswith(".") or any(_WRITER.search(p.name) for p in path.parents):
        return ""
    alive = Path("/proc", writer.group(1)).exists()  # or another process that has its number now: then the next time
    return "" if alive else "half-written by a process that was killed"


def _cut_off(workspace: Workspace) -> Iterator[Removal]:
    """What an earlier removal had taken out of its place when it was killed."""
    for path in sorted((workspace.experiments / REMOVED).glob("*")):
        found = _Found(Experiment(path), None, last_change(path), size(path), "")
        yield _removal("leftover", path, found, "its removal was cut off", workspace)


def _removal(
    kind: Literal["experiment", "leftover"], path: Path, one: _Found, why: str, workspace: Workspace
) -> Removal:
    return Removal(
        kind=kind,
        path=str(path.relative_to(workspace.root)),
        experiment_id=one.name,
        why=why,
        bytes=size(path),
        changed_at=last_change(path),
    )


# --- its doing


def _remove(one: Removal, workspace: Workspace, ledger: Ledger, now: datetime) -> str:
    """Removes it; or gives the reason why it stays."""
    path = workspace.root / one.path
    if path.parent.name == REMOVED:
        shutil.rmtree(path, ignore_errors=True)
        return "" if not path.exists() else "it could not be removed"
    experiment = Experiment(workspace.experiments / one.experiment_id)
    with (
        exclusive(workspace.locks / f"create-{one.experiment_id}.lock"),
        claimed(experiment, workspace) as free,
    ):
        if not free:
            return "it is being trained now"
        if not path.exists():
            return ""  # by the attempt before this one, or by a person
        if last_change(path) != one.changed_at:
            return "it changed after the plan was made"
        if one.kind == "leftover":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return ""
        if why := wanted_experiments(workspace, ledger).get(one.experiment_id):
            return why
        _write_down(experiment, one, ledger, now)
        remove_held(experiment)
        return ""


def _write_down(experiment: Experiment, one: Removal, ledger: Ledger, now: datetime) -> None:
    """The ledger keeps the row, with the removal as its reason."""
    try:
        entry = ledger.experiment(one.experiment_id)
    except NotFoundError:
        if _metadata(experiment) is None:
            return  # never made to its end, or unreadable: there is nothing to remember
        entry = remember(experiment, ledger, at=now)
    sentences = [entry.reason, f"Its files were removed on {now:%Y-%m-%d}: {one.why}"]
    ledger.change(one.experiment_id, reason=" ".join(f"{said.rstrip('. ')}." for said in sentences if said))


# --- looking


def _metadata(experiment: Experiment) -> Metadata | None:
    try:
        return experiment.metadata
    except IntegrityError:
        return None


def last_change(path: Path) -> datetime:
    """When the file, or anything in the folder, was last written."""
    times = [path.lstat().st_mtime]
    for folder, _, names in os.walk(path):
        times += [Path(folder, name).lstat().st_mtime for name in names]
    return datetime.fromtimestamp(max(times), UTC)


def size(path: Path) -> int:
    """Bytes of the file, or of all files in the folder; links count as themselves."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
