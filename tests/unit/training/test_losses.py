from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.autograd import gradcheck

from glaucoma.errors import SettingsError
from glaucoma.schema import Task
from glaucoma.training.loss_settings import ClassificationLoss, LossOptions, SegmentationLoss
from glaucoma.training.loss_terms import (
    DICE_SMOOTH,
    boundary_loss,
    cross_entropy_loss,
    dice_loss,
    distance_maps,
    focal_loss,
    focal_terms,
    lovasz_loss,
    tversky_loss,
)
from glaucoma.training.losses import Loss, class_weights, make_loss
from glaucoma.training.settings import TrainSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from

NAMES = [*map(str, ClassificationLoss), *map(str, SegmentationLoss)]
MakeSpec = Callable[..., ExperimentSpec]


@pytest.fixture
def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64) * 3
    return logits, (torch.rand(3, 2, 8, 8, generator=generator) > 0.6).double()


@pytest.fixture
def loss_of(make_spec: MakeSpec) -> Callable[..., Loss]:
    """The loss of that name, with those options."""

    def make(name: str, labels: np.ndarray | None = None, **options: float) -> Loss:
        task = Task.CLASSIFICATION if name in list(ClassificationLoss) else Task.SEGMENTATION
        spec = make_spec(task, loss=name, loss_options=LossOptions(**options), balanced_sampling=False)
        return make_loss(spec, labels)

    return make


def written_out_focal(logits: np.ndarray, targets: np.ndarray, gamma: float) -> float:
    total = 0.0
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        right = probability if target == 1 else 1 - probability
        total += -((1 - right) ** gamma) * math.log(right)
    return total / logits.size


def written_out_overlap(logits: np.ndarray, targets: np.ndarray, beta: float) -> float:
    losses = []
    for channel in range(logits.shape[1]):
        p, t = 1 / (1 + np.exp(-logits[:, channel])), targets[:, channel]
        found, missed, wrong = (p * t).sum(), ((1 - p) * t).sum(), (p * (1 - t)).sum()
        losses.append(1 - (found + 0.5) / (found + beta * missed + (1 - beta) * wrong + 0.5))
    return float(np.mean(losses))


def written_out_lovasz(logits: np.ndarray, targets: np.ndarray) -> float:
    """By definition: pixels in order of their error, each error times what its pixel adds to the Jaccard loss."""
    losses = []
    for logit, target in zip(logits.reshape(-1, 64), targets.reshape(-1, 64), strict=True):
        errors = np.maximum(1 - logit * (2 * target - 1), 0)
        wrong, jaccard, total = np.zeros(64, bool), 0.0, 0.0
        for place in np.argsort(-errors):
            wrong[place] = True
            missed, found_wrongly = (wrong & (target == 1)).sum(), (wrong & (target == 0)).sum()
            now = (missed + found_wrongly) / (target.sum() + found_wrongly)
            total, jaccard = total + errors[place] * (now - jaccard), now
        losses.append(total)
    return float(np.mean(losses))


# Formulas


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_equals_the_written_out_sum(maps, gamma):
    logits, targets = maps
    expected = written_out_focal(logits.numpy(), targets.numpy(), gamma)
    assert focal_loss(logits, targets, gamma).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_equals_torchvision_and_monai(maps, gamma):
    from monai.losses import FocalLoss
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = maps
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(focal_loss(logits, targets, gamma), expected)
    monai = FocalLoss(gamma=gamma)(logits, targets)  # in float32
    torch.testing.assert_close(focal_loss(logits, targets, gamma).float(), monai)


def test_focal_loss_without_gamma_is_the_cross_entropy(maps):
    torch.testing.assert_close(focal_loss(*maps, gamma=0), cross_entropy_loss(*maps))


def test_focal_loss_of_a_smoothed_target_is_least_at_the_target():
    logits = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    best = focal_terms(logits, torch.full_like(logits, 0.9)).argmin()
    assert torch.sigmoid(logits[best]).item() == pytest.approx(0.9, abs=1e-3)


def test_cross_entropy_equals_scikit_learn(maps):
    from sklearn.metrics import log_loss

    logits, targets = maps
    expected = log_loss(targets.numpy().ravel(), torch.sigmoid(logits).numpy().ravel())
    assert cross_entropy_loss(logits, targets).item() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.5, 0.7, 0.1])
def test_tversky_loss_equals_the_written_out_ratio_and_monai_and_smp(maps, beta):
    import monai.losses
    from segmentation_models_pytorch.losses import TverskyLoss

    logits, targets = maps
    ours = tversky_loss(logits, targets, beta)
    assert ours.item() == pytest.approx(written_out_overlap(logits.numpy(), targets.numpy(), beta))
    smooth = DICE_SMOOTH / 2
    monais = monai.losses.TverskyLoss(
        sigmoid=True, alpha=1 - beta, beta=beta, smooth_nr=smooth, smooth_dr=smooth, batch=True
    )
    torch.testing.assert_close(ours, monais(logits, targets))
    torch.testing.assert_close(ours, TverskyLoss("multilabel", smooth=smooth, alpha=1 - beta, beta=beta)(*maps))


def test_dice_loss_equals_monai_and_smp(maps):
    import monai.losses
    from segmentation_models_pytorch.losses import DiceLoss

    ours = dice_loss(*maps)
    monais = monai.losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=DICE_SMOOTH, smooth_dr=DICE_SMOOTH)
    torch.testing.assert_close(ours, monais(*maps))
    torch.testing.assert_close(ours, DiceLoss("multilabel", smooth=DICE_SMOOTH / 2)(*maps))  # it halves all


def test_dice_of_a_half_found_square_is_as_worked_out_by_hand():
    """8 of 16 pixels found, none wrongly: Dice (2 * 8 + 1) / (8 + 16 + 1)."""
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., :4, :4] = 1
    logits = torch.full_like(targets, -40.0)
    logits[..., :2, :4] = 40
    assert dice_loss(logits, targets).item() == pytest.approx(1 - 17 / 25)
    assert tversky_loss(logits, targets, beta=0.75).item() == pytest.approx(1 - 8.5 / (8 + 0.75 * 8 + 0.5))


def test_a_beta_above_one_half_makes_missing_dearer_than_finding_wrongly():
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., :4, :4] = 1
    less, more = torch.full_like(targets, -9.0), torch.full_like(targets, -9.0)
    less[..., :2, :4] = 9
    more[..., :6, :4] = 9
    assert tversky_loss(less, targets, 0.8) > tversky_loss(less, targets, 0.5)
    assert tversky_loss(more, targets, 0.8) < tversky_loss(more, targets, 0.5)


def test_what_is_marked_where_there_is_nothing_costs():
    empty = torch.zeros(2, 1, 8, 8)
    for loss in (dice_loss, partial(tversky_loss, beta=0.7), lovasz_loss):
        assert loss(torch.full_like(empty, 9.0), empty).item() > 0.9
        assert loss(torch.full_like(empty, -20.0), empty).item() < 1e-6


def test_lovasz_loss_is_its_definition(maps):
    logits, targets = maps
    assert lovasz_loss(logits, targets).item() == pytest.approx(
        written_out_lovasz(logits.numpy(), targets.numpy()), rel=1e-5
    )


def test_lovasz_loss_of_sure_answers_is_twice_the_jaccard_loss():
    """With logits of +-1 each wrong pixel has the error 2, and the sum telescopes to the Jaccard loss."""
    targets = torch.zeros(1, 1, 8, 8)
    targets[..., :4, :4] = 1
    said = torch.zeros_like(targets)
    said[..., 2:6, :4] = 1
    assert lovasz_loss(said * 2 - 1, targets).item() == pytest.approx(2 * (1 - 8 / 24))


def test_the_distance_maps_are_scipys():
    from scipy.ndimage import distance_transform_edt

    generator = torch.Generator().manual_seed(1)
    targets = (torch.rand(2, 2, 21, 34, generator=generator) > 0.8).float()
    found = distance_maps(targets).numpy()
    for place in np.ndindex(2, 2):
        mask = targets[place].numpy() > 0
        expected = np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))
        np.testing.assert_allclose(found[place], expected, atol=1e-4)


def test_the_boundary_loss_is_monais_less_that_of_a_perfect_answer(maps):
    from monai.losses import BoundaryLoss

    logits, targets = maps
    monais = BoundaryLoss(sigmoid=True)
    expected = (monais(logits, targets) - monais((targets * 2 - 1) * 100, targets)) / 8
    torch.testing.assert_close(boundary_loss(logits, targets), expected, atol=1e-6, rtol=1e-5)


def test_a_mistake_costs_the_boundary_loss_the_more_the_further_it_lies_from_the_outline():
    targets = torch.zeros(1, 1, 16, 16)
    targets[..., 6:10, 6:10] = 1
    costs = []
    for column in (10, 12, 15):
        logits = (targets * 2 - 1) * 50
        logits[..., 8, column] = 50
        costs.append(boundary_loss(logits, targets).item())
    assert costs == pytest.approx([distance / 16 / 256 for distance in (1, 3, 6)], rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_an_outline_says_nothing_to_the_boundary_loss(value):
    targets = torch.full((1, 2, 8, 8), value)
    targets[:, 1, 2:4, 2:4] = 1 - value
    maps = distance_maps(targets)
    assert not maps[:, 0].any()
    assert maps[:, 1].any()
    logits = torch.zeros_like(targets, requires_grad=True)
    boundary_loss(logits, targets).backward()
    assert not logits.grad[:, 0].any()
    assert torch.isfinite(logits.grad).all()


# From a spec to its loss


def test_sums_of_two_weigh_the_second(maps, loss_of):
    logits, targets = maps
    tversky = partial(tversky_loss, beta=0.9)
    parts = {
        "dice_focal": (dice_loss, partial(focal_loss, gamma=2.0), {}),
        "dice_ce": (dice_loss, cross_entropy_loss, {}),
        "lovasz_ce": (lovasz_loss, cross_entropy_loss, {}),
        "dice_boundary": (dice_loss, boundary_loss, {}),
        "tversky_focal": (tversky, partial(focal_loss, gamma=3.0), {"tversky_beta": 0.9, "focal_gamma": 3.0}),
    }
    for name, (first, second, options) in parts.items():
        for weight in (1.0, 0.25):
            found = loss_of(name, second_weight=weight, **options)(logits, targets)
            torch.testing.assert_close(found, first(logits, targets) + weight * second(logits, targets))


def test_smoothed_labels_are_torchs_cross_entropy_of_the_moved_targets(maps, loss_of):
    logits, targets = maps
    smooth = loss_of("cross_entropy", label_smoothing=0.1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1)
    torch.testing.assert_close(smooth(logits, targets), expected)
    assert smooth((targets * 2 - 1) * 30, targets) > smooth((targets * 2 - 1) * math.log(9), targets)


def test_class_weights_are_scikit_learns_balanced_ones():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 9 + [1] * 3, np.uint8)
    assert class_weights(labels) == pytest.approx(compute_class_weight("balanced", classes=np.array([0, 1]), y=labels))
    assert np.mean([class_weights(labels)[label] for label in labels]) == pytest.approx(1)


@pytest.mark.parametrize("name", ["focal", "cross_entropy"])
def test_weighted_classes_count_the_same_in_all(name, loss_of):
    labels = np.array([0] * 9 + [1] * 3, np.uint8)
    weighted, plain = loss_of(name, labels, class_weighted=True), loss_of(name)
    targets = torch.tensor(labels)[:, None].double()
    logits = torch.zeros_like(targets, requires_grad=True)
    weighted(logits, targets).backward()
    assert logits.grad[:9].sum().item() == pytest.approx(-logits.grad[9:].sum().item())
    torch.testing.assert_close(weighted(logits, targets), plain(logits, targets))  # at a logit of 0 all lose the same


@pytest.mark.parametrize("labels", [None, np.zeros(4, np.uint8), np.ones(4, np.uint8)])
def test_class_weights_need_both_classes(labels, loss_of):
    with pytest.raises(ValueError, match="both of them"):
        loss_of("focal", labels, class_weighted=True)


def test_a_classifiers_loss_is_the_mean_of_its_parts_however_the_batch_is_cut(loss_of):
    labels = np.array([0, 0, 0, 1, 0, 1, 0, 0], np.uint8)
    targets = torch.tensor(labels)[:, None].double()
    logits = torch.randn(8, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    loss = loss_of("focal", labels, class_weighted=True, label_smoothing=0.05, focal_gamma=1.5)
    whole = loss(logits, targets)
    torch.testing.assert_close(whole, (3 * loss(logits[:3], targets[:3]) + 5 * loss(logits[3:], targets[3:])) / 8)


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_costs_nearly_nothing_and_a_wrong_one_much(name, maps, loss_of):
    _, targets = maps
    logits = (targets * 2 - 1) * 20
    assert 0 <= loss_of(name)(logits, targets).item() < 0.01
    assert loss_of(name)(-logits, targets).item() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_does_not_depend_on_the_order_of_the_batch(name, maps, loss_of):
    logits, targets = maps
    loss = loss_of(name)
    torch.testing.assert_close(loss(logits, targets), loss(logits.flip(0), targets.flip(0)))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name, loss_of):
    generator = torch.Generator().manual_seed(2)
    targets = (torch.rand(2, 2, 4, 4, generator=generator) > 0.5).double()
    logits = torch.randn(2, 2, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    if "lovasz" in name:  # the library computes it in float32, whose differences need longer steps
        assert gradcheck(lambda x: loss_of(name)(x, targets), logits, eps=1e-3, atol=2e-3, rtol=1e-2)
    else:
        assert gradcheck(lambda x: loss_of(name)(x, targets), logits)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 10.0])
def test_every_gamma_gives_finite_gradients_for_sure_answers(gamma):
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4, 0.0]).requires_grad_()
    focal_loss(logits, torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]), gamma).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("mask", ["empty", "full", "one pixel", "mixed"])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_and_any_mask_give_finite_losses_and_gradients(name, mask, loss_of):
    generator = torch.Generator().manual_seed(3)
    targets = torch.zeros(2, 2, 8, 8)
    if mask == "one pixel":
        targets[:, :, 3, 3] = 1
    elif mask != "empty":
        targets = (
            torch.ones_like(targets) if mask == "full" else (torch.rand(2, 2, 8, 8, generator=generator) > 0.5) * 1.0
        )
    for sign in (1, -1, torch.randn(2, 2, 8, 8, generator=generator).sign()):
        logits = (1e4 * sign * torch.ones_like(targets)).requires_grad_()
        loss = loss_of(name)(logits, targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_32_bits_under_autocast_too(name, dtype, maps, loss_of):
    logits, targets = maps[0].to(dtype), maps[1].float()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_of(name)(logits, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss_of(name)(logits.float(), targets))


# Settings


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("dice", {"tversky_beta": 0.8}),
        ("dice", {"second_weight": 2.0}),
        ("lovasz", {"second_weight": 2.0}),
        ("dice_ce", {"focal_gamma": 1.0}),
        ("cross_entropy", {"focal_gamma": 1.0}),
        ("dice_focal", {"label_smoothing": 0.1}),
        ("dice_focal", {"class_weighted": True}),
    ],
)
def test_an_option_without_an_effect_on_the_loss_is_refused(loss, options, make_spec):
    task = Task.CLASSIFICATION if loss in list(ClassificationLoss) else Task.SEGMENTATION
    with pytest.raises(SettingsError, match=f"{next(iter(options))} of loss_options would have no effect on {loss}"):
        make_spec(task, loss=loss, loss_options=LossOptions(**options))


def test_every_option_has_an_effect_where_it_is_taken(maps, loss_of):
    logits, targets = maps
    labels = np.array([0, 0, 1], np.uint8)
    others = {
        "class_weighted": True,
        "label_smoothing": 0.1,
        "focal_gamma": 1.0,
        "tversky_beta": 0.5,
        "second_weight": 3.0,
    }
    assert set(others) == set(LossOptions.model_fields)
    taken = set()
    for name in NAMES:
        for option, value in others.items():
            if LossOptions(**{option: value}).idle(name):
                continue
            taken.add(option)
            changed = loss_of(name, labels, **{option: value})(logits, targets)
            assert not torch.isclose(changed, loss_of(name)(logits, targets)), (name, option)
    assert taken == set(others)


def test_weighted_classes_and_balanced_sampling_exclude_each_other(make_spec):
    options = LossOptions(class_weighted=True)
    with pytest.raises(SettingsError, match="count the rarer one twice"):
        make_spec(loss_options=options)
    assert make_spec(loss_options=options, balanced_sampling=False).loss_options.class_weighted


def test_one_form_serves_both_tasks_and_each_experiment_takes_what_concerns_it():
    options = LossOptions(label_smoothing=0.1, second_weight=0.5, focal_gamma=3.0)
    settings = TrainSettings.for_preset("smoke", loss_options=options)
    cls, seg = (spec_from(settings, task, "eyes", "0" * 16) for task in (Task.CLASSIFICATION, Task.SEGMENTATION))
    assert cls.loss_options == LossOptions(label_smoothing=0.1, focal_gamma=3.0)
    assert seg.loss_options == LossOptions(second_weight=0.5, focal_gamma=3.0)
    plain = TrainSettings.for_preset("smoke", loss_options=LossOptions(second_weight=0.5))
    unchanged = spec_from(TrainSettings.for_preset("smoke"), Task.CLASSIFICATION, "eyes", "0" * 16)
    assert experiment_id(spec_from(plain, Task.CLASSIFICATION, "eyes", "0" * 16)) == experiment_id(unchanged)


def test_a_form_with_an_option_that_neither_loss_takes_is_refused():
    with pytest.raises(
        ValidationError, match="tversky_beta of loss_options would have no effect on focal or dice_focal"
    ):
        TrainSettings(loss_options=LossOptions(tversky_beta=0.8))
