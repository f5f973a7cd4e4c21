"""A short campaign of `make chaos`: attacks at random moments, and two processes that want one experiment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.campaign import Tally, attack_training
from tests.chaos.places import two_at_once
from tests.chaos.subjects import Subject, subjects

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subjects(epochs=40)[0]


@pytest.fixture(scope="module")
def expected(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> str:
    return subject.run_undisturbed(tmp_path_factory.mktemp("chaos") / "reference")


def test_a_training_attacked_at_random_moments_ends_as_if_undisturbed(
    subject: Subject, expected: str, tmp_path: Path
) -> None:
    tally = Tally()
    attack_training(subject, expected, tmp_path / "workspace", random.Random(1), 3, tally)
    assert tally.violations == []
    assert tally.attacks.total() >= 3


def test_two_processes_that_want_one_experiment_share_the_work(subject: Subject, expected: str, tmp_path: Path) -> None:
    assert two_at_once(subject, expected, tmp_path / "workspace") == []
