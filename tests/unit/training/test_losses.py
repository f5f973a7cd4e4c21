import math

import numpy as np
import pytest
import torch

from glaucoma.training.losses import DICE_SMOOTH, LOSSES, cross_entropy_loss, dice_loss, focal_loss


def written_out_focal(logits: np.ndarray, targets: np.ndarray) -> float:
    total = 0.0
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        right = probability if target == 1 else 1 - probability
        total += -((1 - right) ** 2) * math.log(right)
    return total / logits.size


def written_out_dice(logits: np.ndarray, targets: np.ndarray) -> float:
    losses = []
    for channel in range(logits.shape[1]):
        probability = 1 / (1 + np.exp(-logits[:, channel]))
        truth = targets[:, channel]
        losses.append(1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1))
    return float(np.mean(losses))


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64) * 3
    return logits, (torch.rand(3, 2, 8, 8, generator=generator) > 0.6).double()


def test_focal_loss_equals_the_written_out_sum(maps):
    logits, targets = maps
    assert focal_loss(logits, targets).item() == pytest.approx(written_out_focal(logits.numpy(), targets.numpy()))


def test_focal_loss_equals_torchvision(maps):
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = maps
    expected = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(focal_loss(logits, targets), expected)


def test_dice_loss_equals_the_written_out_ratio(maps):
    logits, targets = maps
    assert dice_loss(logits, targets).item() == pytest.approx(written_out_dice(logits.numpy(), targets.numpy()))


def test_dice_loss_equals_segmentation_models_pytorch(maps):
    from segmentation_models_pytorch.losses import DiceLoss

    logits, targets = maps
    expected = DiceLoss(mode="multilabel", smooth=DICE_SMOOTH / 2)(logits, targets)  # its Tversky form halves all
    torch.testing.assert_close(dice_loss(logits, targets), expected)


def test_cross_entropy_equals_scikit_learn(maps):
    from sklearn.metrics import log_loss

    logits, targets = maps
    expected = log_loss(targets.numpy().ravel(), torch.sigmoid(logits).numpy().ravel())
    assert cross_entropy_loss(logits, targets).item() == pytest.approx(expected)


def test_combined_losses_are_the_sums_of_their_parts(maps):
    logits, targets = maps
    torch.testing.assert_close(
        LOSSES["dice_focal"](logits, targets), dice_loss(logits, targets) + focal_loss(logits, targets)
    )
    torch.testing.assert_close(
        LOSSES["dice_ce"](logits, targets), dice_loss(logits, targets) + cross_entropy_loss(logits, targets)
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_right_answer_costs_nearly_nothing_and_a_wrong_one_much(name, maps):
    _, targets = maps
    logits = (targets * 2 - 1) * 20
    assert LOSSES[name](logits, targets).item() < 0.01
    assert LOSSES[name](-logits, targets).item() > 0.9


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_does_not_depend_on_the_order_of_the_batch(name, maps):
    logits, targets = maps
    torch.testing.assert_close(LOSSES[name](logits, targets), LOSSES[name](logits.flip(0), targets.flip(0)))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_extreme_logits_give_finite_losses_and_gradients(name):
    logits = torch.tensor([80.0, -80.0, 80.0, -80.0]).view(1, 1, 2, 2).requires_grad_()
    loss = LOSSES[name](logits, torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
