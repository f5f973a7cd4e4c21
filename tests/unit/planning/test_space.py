from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from glaucoma.errors import SettingsError
from glaucoma.planning.novelty import due
from glaucoma.planning.settings import PlanSettings, Rules, load_rules
from glaucoma.planning.space import Choice, Dimension, Range, SearchSpace, default_space, widened
from glaucoma.records.words import Novelty
from glaucoma.training.loss_settings import ClassificationLoss, SegmentationLoss
from glaucoma.training.spec import ExperimentSpec


def test_the_default_space_holds_its_base(base: ExperimentSpec) -> None:
    space = default_space(base)
    assert set(space.dimensions) == {"learning_rate", "weight_decay", "augment", "batch_size", "loss"}
    assert space.holds(space.point(base))


def test_the_losses_are_all_that_take_the_bases_options(base: ExperimentSpec) -> None:
    def losses(**changes: object) -> Dimension:
        return default_space(ExperimentSpec.model_validate({**base.model_dump(), **changes})).dimensions["loss"]

    assert losses() == Choice(values=tuple(str(loss) for loss in ClassificationLoss))
    assert losses(loss="focal", loss_options={"focal_gamma": 3.0}) == Choice(values=("focal",))
    segmentation = {"task": "segmentation", "model": "resnet18", "loss": "dice"}
    assert losses(**segmentation) == Choice(values=tuple(str(loss) for loss in SegmentationLoss))


def test_rules_narrow_the_default_space(base: ExperimentSpec) -> None:
    space = default_space(base, Rules(batch_size=(16, 16), weight_decay=(0.0, 0.0), learning_rate=(1e-3, 4e-3)))
    assert "weight_decay" not in space.dimensions
    assert space.dimensions["batch_size"] == Choice(values=(16,))
    assert space.dimensions["learning_rate"] == Range(low=1e-3, high=4e-3, log=True)


def test_gower_distance_is_as_written_out(base: ExperimentSpec) -> None:
    space = SearchSpace(
        dimensions={
            "learning_rate": Range(low=1e-4, high=1e-2, log=True),
            "augment": Range(low=0, high=1),
            "loss": Choice(values=("focal", "cross_entropy")),
        }
    )
    one = {"learning_rate": 1e-3, "augment": 0.2, "loss": "focal"}
    other = {"learning_rate": 1e-4, "augment": 0.6, "loss": "cross_entropy"}
    assert space.distance(one, other) == pytest.approx((0.5 + 0.4 + 1) / 3)
    assert space.distance(one, other) == space.distance(other, one)
    assert space.distance(one, one) == 0


def test_a_search_cannot_change_the_question(base: ExperimentSpec) -> None:
    for name in ("seed", "prepared_key", "nonsense"):
        with pytest.raises(ValidationError, match=f"cannot change {name}"):
            SearchSpace(dimensions={name: Choice(values=(1, 2))})


@pytest.mark.parametrize("low", [0.0, 2.0])
def test_an_impossible_range_is_refused(low: float) -> None:
    with pytest.raises(ValidationError, match="no range"):
        Range(low=low, high=1.0, log=True)


def test_a_space_survives_json(base: ExperimentSpec) -> None:
    space = default_space(base)
    assert SearchSpace.model_validate_json(space.model_dump_json()) == space


def test_points_near_a_centre_stay_inside_the_space(base: ExperimentSpec) -> None:
    space = default_space(base)
    rng = np.random.default_rng(0)
    edge = {**space.point(base), "augment": 1.0}
    assert all(space.holds(space.near(edge, 0.3, rng)) for _ in range(200))


def test_the_wider_space_reaches_further_but_keeps_the_rules(base: ExperimentSpec) -> None:
    rules = Rules(batch_size=(2, 40))
    wide = widened(default_space(base, rules), rules)
    rate = wide.dimensions["learning_rate"]
    assert isinstance(rate, Range)
    assert rate.low == pytest.approx(base.learning_rate / 40)
    assert rate.high == 0.1
    assert wide.dimensions["batch_size"] == Choice(values=(8, 16, 32, 4))
    assert wide.dimensions["augment"] == Range(low=0, high=1)


def test_shares_come_true_in_the_long_run_and_sum_to_one() -> None:
    history: list[Novelty] = []
    for _ in range(100):
        history.append(due(history, PlanSettings()))
    assert [history.count(kind) for kind in Novelty] == [60, 30, 10]
    with pytest.raises(ValidationError, match=r"sum to 1.1"):
        PlanSettings(exploit_share=0.7)


def test_rules_come_from_a_file_and_a_misspelt_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("epochs: [1, 20]\nmin_sensitivity: 0.8\n")
    rules = load_rules(path)
    assert (rules.epochs, rules.min_sensitivity) == ((1, 20), 0.8)
    path.write_text("epoks: [1, 20]\n")
    with pytest.raises(SettingsError, match="epoks"):
        load_rules(path)
    path.write_text("epochs: [20, 1]\n")
    with pytest.raises(SettingsError, match="highest"):
        load_rules(path)
    with pytest.raises(SettingsError, match="No such file"):
        load_rules(tmp_path / "nowhere.yaml")
    assert load_rules(None) == Rules()
