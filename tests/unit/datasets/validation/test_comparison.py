from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from glaucoma.datasets.comparison import Limits, at_most, compare
from glaucoma.datasets.confounding import associations, cramers_v
from glaucoma.datasets.imagefile import read_photograph
from glaucoma.datasets.photograph_facts import Measured, measure_photograph

LIMITS = Limits(permutations=1999)
NAMES = ("a", "b")


def table(shift: float, number: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {str(name): rng.normal(shift if name is Measured.REDNESS else 0, 1, number) for name in Measured}
    return pd.DataFrame({"group": [f"{seed}-{place}" for place in range(number)], **columns})


def compared(first: pd.DataFrame, second: pd.DataFrame, limits: Limits = LIMITS) -> dict:
    return {one.quantity: one for one in compare((first, second), NAMES, list(Measured), limits)}


def test_a_shifted_quantity_differs_and_the_others_do_not() -> None:
    found = compared(table(0, seed=1), table(1.5, seed=2))
    assert [name for name, one in found.items() if one.differs] == ["redness"]
    redness = found["redness"]
    assert redness.distance_sd == pytest.approx(1.5, abs=0.4)
    assert redness.auc < 0.3
    assert redness.tells_apart
    assert redness.threshold_sd < redness.distance_sd
    assert "redness: a (n=60" in redness.says


def test_a_sure_but_small_difference_does_not_count() -> None:
    limits = Limits(min_difference=0.6)
    found = compared(table(0, 300, seed=1), table(0.4, 300, seed=2), limits)["redness"]
    assert found.p_value <= 0.01
    assert not found.differs


def test_small_groups_are_not_compared() -> None:
    assert compared(table(0, number=9), table(3)) == {}


def test_halves_of_one_set_raise_no_alarm() -> None:
    alarms = 0
    for seed in range(30):
        halves = (table(0, number=30, seed=2 * seed), table(0, number=30, seed=2 * seed + 1))
        alarms += any(one.differs for one in compared(*halves, Limits(permutations=1099, min_difference=0)).values())
    assert alarms <= 2


def test_the_same_seed_gives_the_same_numbers_and_many_rows_are_drawn_by_group() -> None:
    first, second = table(0, 40, seed=1), table(0.5, 40, seed=2)
    assert compared(first, second) == compared(first, second)
    wide = pd.DataFrame({"group": np.repeat([f"p{place}" for place in range(50)], 4)})
    drawn = at_most(wide, 100, seed=3)
    assert len(drawn) == 100
    assert drawn["group"].value_counts().eq(4).all()
    assert at_most(wide, 100, seed=3).equals(drawn)
    assert at_most(wide, 200, seed=3) is wide


def labelled(sites: list[str], number: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "label": ["normal", "glaucoma"] * number,
            "group": [f"p{place}" for place in range(2 * number)],
            "site": sites,
            "origin": "one",
            "eye": rng.choice(["OD", "OS"], 2 * number),
            "measured_width": 500,
            "measured_height": 500,
        }
    )


def test_a_site_that_goes_with_the_label_gives_it_away_and_a_random_eye_does_not() -> None:
    found = {one.trait: one for one in associations(labelled(["n", "g"] * 40), LIMITS, min_association=0.3)}
    assert set(found) == {"site", "eye"}
    assert found["site"].gives_away
    assert found["site"].cramers_v == pytest.approx(1, abs=0.02)
    assert not found["eye"].gives_away


def test_sites_with_the_same_mix_give_nothing_away() -> None:
    (site, _) = associations(labelled(["n", "n", "g", "g"] * 20), LIMITS, min_association=0.3)
    assert site.cramers_v == 0
    assert not site.gives_away


def test_patients_with_many_photographs_do_not_make_a_site_suspicious() -> None:
    """Five patients a class, thirty photographs each, one site a patient at random: chance alone."""
    alarms = 0
    for seed in range(20):
        sites = np.random.default_rng(seed).choice(["x", "y"], 10)
        rows = pd.DataFrame(
            {
                "label": np.repeat(["normal", "glaucoma"], 150),
                "group": np.repeat([f"p{place}" for place in range(10)], 30),
                "site": np.repeat(sites, 30),
            }
        )
        alarms += any(one.gives_away for one in associations(rows, Limits(significance=0.05), min_association=0.3))
    assert alarms <= 3


def test_cramers_v_agrees_with_scipy_s_where_numbers_are_large() -> None:
    counts = np.array([[900, 100, 500], [300, 700, 500]])
    chi2 = stats.chi2_contingency(counts, correction=False).statistic
    expected = stats.contingency.association(counts, method="cramer")
    assert cramers_v(chi2, int(counts.sum()), 3) == pytest.approx(expected, abs=0.005)
    assert cramers_v(0.0, 30, 3) == 0


@pytest.mark.real
def test_colour_and_size_give_the_label_away_in_the_acrima_sample(real_data: Path) -> None:
    """The published set shows D = 0.60 in LAB a; the sample is a quarter of it."""
    rows = []
    for path in sorted((real_data / "acrima-sample/Database/Images").iterdir()):
        pixels = read_photograph(path).pixels
        facts = measure_photograph(pixels)
        rows.append({**facts, "long_side_px": max(pixels.shape), "group": path.name, "sick": "_g_" in path.name})
    checks = pd.DataFrame(rows)
    found = compared(checks[checks["sick"]], checks[~checks["sick"]])
    assert found["redness"].ks == pytest.approx(0.60, abs=0.1)
    assert {name for name, one in found.items() if one.tells_apart} >= {"redness", "long_side_px"}
    assert not found["yellowness"].differs
