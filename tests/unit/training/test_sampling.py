import numpy as np
import pytest

from glaucoma.training.sampling import batches, epoch_order, share, step_seed


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


@pytest.mark.parametrize(("n", "sizes"), [(19, [8, 8]), (20, [8, 8, 4]), (16, [8, 8])])
def test_a_last_batch_of_less_than_two_images_a_process_is_left_out(n, sizes):
    assert [len(batch) for batch in batches(np.arange(n), 8, world=2)] == sizes


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 2, 7, 10, 31])
def test_shares_are_contiguous_whole_and_as_large_to_within_one(n, world):
    images = list(range(n))
    shares = [images[share(n, rank, world)] for rank in range(world)]
    assert [image for part in shares for image in part] == images
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
