"""A campaign: trainings attacked at random moments until enough has happened, each then left to end, and judged."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from glaucoma.training.experiment import Experiment, Status
from tests.chaos import attacks
from tests.chaos.running import Attempt, processes_of, until
from tests.chaos.subjects import Subject, weights_sha256
from tests.unit.training.conftest import make_prepared

_ORPHAN_S = 20.0
_ATTEMPT_S = 300.0


@dataclass
class Tally:
    """What happened, and what should not have."""

    attacks: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    trainings: int = 0
    violations: list[str] = field(default_factory=list)


def attack_training(
    subject: Subject, expected: str, root: Path, rng: random.Random, attacks_wanted: int, tally: Tally
) -> None:
    """Attacks one training of `subject` up to so many times, lets it end, and judges what is left."""
    make_prepared(root)
    tally.trainings += 1
    for _ in range(attacks_wanted):
        attempt = Attempt(subject, root)
        _strike(attempt, rng, tally)
        said = attempt.ended(subject.execution.stall_timeout_s + _ATTEMPT_S)
        tally.outcomes[said["outcome"]] += 1
        if said["outcome"] != "completed" and not said["retryable"] and said["outcome"] != "KeyboardInterrupt":
            tally.violations.append(f"{subject.name}: what can pass was told as final: {said}")
        until(lambda: not processes_of(root), _ORPHAN_S, f"the end of all processes of {subject.name}")
        if said["outcome"] == "completed":
            break
        if rng.random() < 0.3:
            between = rng.choice(attacks.BETWEEN)
            between(attempt.folder, rng)
            tally.attacks[between.__name__] += 1
    said = Attempt(subject, root).ended(_ATTEMPT_S)
    if said["outcome"] != "completed":
        tally.violations.append(f"{subject.name}: left alone, it ended with {said}")
        return
    tally.violations += [f"{subject.name}: {what}" for what in judged(subject, root, expected)]
    shutil.rmtree(root)


def _strike(attempt: Attempt, rng: random.Random, tally: Tally) -> None:
    """One attack at a moment by chance: in the start, or somewhere in the training."""
    kinds, weights = zip(*attacks.DURING, strict=True)
    attack = rng.choices(kinds, weights)[0]
    if rng.random() < 0.15:
        _pass(rng.uniform(0.0, 6.0), attempt)
    else:
        until(attempt.trains, _ATTEMPT_S, "progress")
        _pass(rng.uniform(0.0, 1.5), attempt)
    if attempt.process.poll() is None:
        attack(attempt, rng)
        tally.attacks[attack.__name__] += 1


def _pass(seconds: float, attempt: Attempt) -> None:
    """Lets time pass, which is what is to be chosen by chance here; less where the attempt ends before."""
    deadline = time.monotonic() + seconds
    until(lambda: attempt.process.poll() is not None or time.monotonic() > deadline, seconds + 5, "time")


def judged(subject: Subject, root: Path, expected: str) -> list[str]:
    """What is wrong with a finished training; nothing where all is as if nobody had disturbed it."""
    from glaucoma.training.spec import experiment_id

    experiment = Experiment(root / "experiments" / experiment_id(subject.spec))
    checks: list[tuple[str, Callable[[], bool]]] = [
        ("it is not completed", lambda: experiment.status is Status.COMPLETED),
        ("its weights are others", lambda: weights_sha256(subject, root) == expected),
        ("half-written files are left", lambda: not list(root.rglob("*.partial-*"))),
        ("an end without a reason", lambda: all(one.reason for one in experiment.metadata.history if _needs(one))),
        ("processes are left", lambda: not processes_of(root)),
    ]
    return [what for what, holds in checks if not holds()]


def _needs(change: object) -> bool:
    return getattr(change, "status", None) in (Status.FAILED, Status.INTERRUPTED, Status.CANCELLED)
