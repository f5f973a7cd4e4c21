import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from glaucoma.training.augment import augment_batch
from glaucoma.training.batching import mask_targets
from glaucoma.training.optimization import learning_rate, parameter_groups
from glaucoma.training.sampling import batches, epoch_order, step_seed
from glaucoma.training.scores import area_under_roc, dice_per_image
from glaucoma.training.validation import rank


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
    assert rank({"auc": 0.8, "loss": 9.0}) > rank({"auc": 0.7, "loss": 0.1})
    assert rank({"auc": 0.8, "loss": 0.1}) > rank({"auc": 0.8, "loss": 0.2})
    assert rank({"auc": float("nan"), "loss": 0.1}) > rank({"auc": float("nan"), "loss": 0.2})


def test_an_epoch_without_balancing_shows_every_image_once():
    assert sorted(epoch_order(17, None, seed=3, epoch=2)) == list(range(17))


@pytest.mark.parametrize(("n_negative", "n_positive"), [(10, 3), (3, 10), (5, 5), (40, 1)])
def test_balanced_epochs_show_both_classes_equally_and_no_image_much_more_than_another(n_negative, n_positive):
    labels = np.array([0] * n_negative + [1] * n_positive)
    order = epoch_order(len(labels), labels, seed=0, epoch=0)
    assert len(order) == len(labels)
    assert abs(int((labels[order] == 1).sum()) - int((labels[order] == 0).sum())) <= 1
    for label in (0, 1):
        times = np.bincount(order, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    np.random.seed(1)
    first = epoch_order(50, None, seed=1, epoch=4)
    np.random.seed(2)
    assert (first == epoch_order(50, None, seed=1, epoch=4)).all()
    assert (first != epoch_order(50, None, seed=1, epoch=5)).any()
    assert (first != epoch_order(50, None, seed=2, epoch=4)).any()


def test_step_seeds_differ_by_place_and_fit_a_torch_seed():
    seeds = {step_seed(0, step, purpose) for step in range(100) for purpose in (1, 2)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_last_batch_of_one_is_left_out_unless_it_is_the_only_one():
    assert [len(batch) for batch in batches(np.arange(9), 4)] == [4, 4]
    assert [len(batch) for batch in batches(np.arange(10), 4)] == [4, 4, 2]
    assert [len(batch) for batch in batches(np.arange(1), 4)] == [1]


def drawn(strength, seed=0, n=6, side=33):
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    masks = ((y - 12) ** 2 + (x - 18) ** 2 < 64).to(torch.uint8).repeat(n, 1, 1)
    images = masks[:, None].float().repeat(1, 3, 1, 1) * 0.5
    generator = torch.Generator().manual_seed(seed)
    return images, masks, *augment_batch(images, masks, strength, generator)


def test_strength_zero_changes_nothing():
    images, masks, new_images, new_masks = drawn(0.0)
    assert torch.equal(images, new_images)
    assert torch.equal(masks, new_masks)


def test_the_mask_follows_its_image():
    _, _, images, masks = drawn(1.0)
    for image, mask in zip(images, masks, strict=True):
        bright = image[0] > image[0].max() / 2
        shared = (bright & (mask > 0)).sum() * 2 / (bright.sum() + (mask > 0).sum())
        assert shared > 0.97


def test_augmentation_changes_images_differently_within_a_batch_and_stays_in_range():
    _, masks, images, new_masks = drawn(1.0)
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    assert not torch.equal(masks, new_masks)
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(new_masks.unique().tolist()) <= {0, 1}


def test_augmentation_is_a_function_of_its_generator():
    assert torch.equal(drawn(0.7, seed=1)[2], drawn(0.7, seed=1)[2])
    assert not torch.equal(drawn(0.7, seed=1)[2], drawn(0.7, seed=2)[2])


def test_the_disc_channel_holds_the_cup():
    targets = mask_targets(torch.tensor([[[0, 1, 2]]], dtype=torch.uint8))
    assert targets[0, 0].tolist() == [[0, 1, 1]]
    assert targets[0, 1].tolist() == [[0, 0, 1]]


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
