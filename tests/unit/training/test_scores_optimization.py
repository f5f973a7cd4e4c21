import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from glaucoma.schema import Task
from glaucoma.training.optimization import learning_rate, parameter_groups
from glaucoma.training.scores import area_under_roc, dice_per_image
from glaucoma.training.task_definition import DEFINITIONS


@pytest.mark.parametrize("seed", range(5))
def test_area_under_roc_equals_scikit_learn_with_ties(seed):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 3
    assert area_under_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_area_under_roc_of_one_class_is_undefined():
    assert np.isnan(area_under_roc([1, 1], [0.2, 0.4]))
    assert np.isnan(area_under_roc([0], [0.2]))


def test_dice_per_image_is_that_of_the_sets_and_undefined_where_both_are_empty():
    truth = np.zeros((3, 1, 4, 4), bool)
    predicted = truth.copy()
    truth[0, 0, 0], predicted[0, 0, :2] = True, True  # 4 and 8 pixels, 4 shared
    truth[1, 0, 0] = True  # missed
    assert dice_per_image(predicted, truth)[:, 0] == pytest.approx([2 * 4 / 12, 0.0, np.nan], nan_ok=True)


def test_ranking_prefers_the_score_then_the_loss_and_survives_an_undefined_score():
    rank = DEFINITIONS[Task.CLASSIFICATION].rank
    assert rank({"auc": 0.8, "loss": 9.0}) > rank({"auc": 0.7, "loss": 0.1})
    assert rank({"auc": 0.8, "loss": 0.1}) > rank({"auc": 0.8, "loss": 0.2})
    assert rank({"auc": float("nan"), "loss": 0.1}) > rank({"auc": float("nan"), "loss": 0.2})


def test_the_learning_rate_warms_up_peaks_and_falls_to_a_hundredth():
    rates = [learning_rate(0.5, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.5)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.01
    assert learning_rate(0.5, 0, 1) == 0.5


def test_only_weights_decay():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decaying, other = parameter_groups(model, 0.1)
    assert [p.ndim for p in decaying["params"]] == [4]
    assert (decaying["weight_decay"], other["weight_decay"], len(other["params"])) == (0.1, 0.0, 3)
