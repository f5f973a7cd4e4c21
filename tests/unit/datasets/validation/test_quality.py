from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from glaucoma.datasets.imagefile import read_photograph
from glaucoma.datasets.photograph_facts import Measured, measure_photograph
from glaucoma.datasets.quality import Grade, grade
from glaucoma.datasets.validation_settings import QualitySettings

ORDER = [Grade.GOOD, Grade.USABLE, Grade.REJECT]
BOUNDS = QualitySettings()


def retina(size: int = 512, seed: int = 0) -> np.ndarray:
    """A round field with texture at the scale of vessels, RGB."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 1.5)
    texture *= 18 / texture.std()
    picture = np.clip(np.array([170, 95, 50]) + texture[..., None], 0, 255)
    inside = np.zeros((size, size), np.uint8)
    cv2.circle(inside, (size // 2, size // 2), int(0.46 * size), 1, -1)
    return (picture * inside[..., None]).astype(np.uint8)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    sigma *= max(picture.shape) / 512
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(picture * float(factor), 0, 255).astype(np.uint8)


def shaded(picture: np.ndarray, darkest: float) -> np.ndarray:
    return (picture * np.linspace(1, darkest, picture.shape[1])[None, :, None]).astype(np.uint8)


def graded(picture: np.ndarray) -> Grade:
    return grade(measure_photograph(picture), BOUNDS)[0]


DEGRADATIONS = [
    (blurred, (0, 1, 2, 4, 8), Measured.SHARPNESS, -1),
    (scaled, (1, 0.6, 0.3, 0.15), Measured.BRIGHTNESS, -1),
    (scaled, (1, 1.5, 2.5, 5), Measured.CLIPPED_SHARE, 1),
    (shaded, (1, 0.6, 0.3, 0.0), Measured.EVENNESS, -1),
]


@pytest.mark.parametrize(("degrade", "steps", "quantity", "sign"), DEGRADATIONS)
def test_the_worse_a_photograph_is_made_the_worse_its_measure_and_never_better_its_grade(
    degrade, steps, quantity: str, sign: int
) -> None:
    pictures = [degrade(retina(), step) for step in steps]
    values = [sign * measure_photograph(picture)[quantity] for picture in pictures]
    assert values == sorted(values)
    ranks = [ORDER.index(graded(picture)) for picture in pictures]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert ranks[-1] >= (1 if degrade is shaded else 2)


@pytest.mark.real
def test_real_whole_retinas_are_good_and_their_degraded_copies_never_better(real_data: Path) -> None:
    paths = [*sorted((real_data / "idrid-sample/images").glob("*.jpg"))[:3], *(real_data / "cc0-single").glob("*.jpg")]
    for path in paths:
        photograph = read_photograph(path).pixels
        factor = 1024 / max(photograph.shape)
        photograph = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        assert graded(photograph) is Grade.GOOD, path.name
        for degrade, steps, quantity, sign in (DEGRADATIONS[0], (scaled, (1, 1.5, 2.5), Measured.CLIPPED_SHARE, 1)):
            made = [degrade(photograph, step) for step in steps]
            values = [sign * measure_photograph(picture)[quantity] for picture in made]
            assert values == sorted(values), (path.name, quantity)
            ranks = [ORDER.index(graded(picture)) for picture in made]
            assert ranks == sorted(ranks), (path.name, quantity)
        assert graded(blurred(photograph, 8)) is Grade.REJECT
        assert graded(scaled(photograph, 0.1)) is Grade.REJECT


@pytest.mark.real
def test_few_real_disc_crops_are_rejected(real_data: Path) -> None:
    paths = sorted((real_data / "acrima-sample/Database/Images").iterdir())[::3]
    grades = [graded(read_photograph(path).pixels) for path in paths]
    assert grades.count(Grade.REJECT) <= 0.1 * len(grades)
    assert grades.count(Grade.GOOD) >= 0.6 * len(grades)


def test_reasons_name_what_speaks_against_a_better_grade() -> None:
    found, reasons = grade(measure_photograph(blurred(retina(), 8)), BOUNDS)
    assert found is Grade.REJECT
    assert reasons.startswith("blurred (sharpness ")
    assert grade(measure_photograph(retina()), BOUNDS) == (Grade.GOOD, "")
    assert grade(measure_photograph(np.zeros((99, 99, 3), np.uint8)), BOUNDS) == (Grade.REJECT, "nothing is lit")


def test_what_could_not_be_measured_says_nothing() -> None:
    facts = measure_photograph(retina()) | {Measured.EVENNESS.value: None, Measured.SHARPNESS.value: None}
    assert grade(facts, BOUNDS)[0] is Grade.GOOD


def test_bounds_can_be_set() -> None:
    facts = measure_photograph(retina())
    sharpness = facts[Measured.SHARPNESS]
    assert grade(facts, QualitySettings(good_sharpness=sharpness + 1))[0] is Grade.USABLE
    assert (
        grade(facts, QualitySettings(good_sharpness=sharpness + 2, usable_sharpness=sharpness + 1))[0] is Grade.REJECT
    )


@pytest.mark.parametrize(
    "wrong", [{"good_sharpness": 1}, {"good_max_brightness": 250}, {"good_clipped_share": 0.99}, {"good_evenness": 0.1}]
)
def test_a_good_bound_laxer_than_the_usable_one_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="may not be"):
        QualitySettings(**wrong)
