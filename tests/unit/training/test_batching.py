import numpy as np
import pytest
import torch

from glaucoma.training.batching import Batch, mask_targets


def a_batch(n, *, clinical=True):
    numbers = torch.arange(n, dtype=torch.float32)
    return Batch(
        inputs=numbers.view(-1, 1, 1, 1).expand(n, 3, 2, 2),
        clinical=numbers[:, None] if clinical else None,
        targets=numbers[:, None],
        indices=np.arange(100, 100 + n),
        n_step=3 * n,
    )


def test_the_disc_channel_holds_the_cup():
    targets = mask_targets(torch.tensor([[[0, 1, 2]]], dtype=torch.uint8))
    assert targets[0, 0].tolist() == [[0, 1, 1]]
    assert targets[0, 1].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("size", [2, 3, 4, 7, 8, 100, None])
@pytest.mark.parametrize("n", range(1, 18))
def test_micro_batches_hold_every_image_once_and_none_of_them_is_alone(n, size):
    parts = list(a_batch(n).micro(size))
    assert np.concatenate([part.indices for part in parts]).tolist() == list(range(100, 100 + n))
    for part in parts:
        assert len(part) == len(part.inputs) == len(part.targets) == len(part.clinical)
        assert part.inputs[:, 0, 0, 0].tolist() == part.targets[:, 0].tolist() == (part.indices - 100).tolist()
        assert part.clinical[:, 0].tolist() == part.targets[:, 0].tolist()
        assert part.n_step == 3 * n
        assert len(part) > 1 or n == 1
        assert size is None or len(part) <= size + (size == 2)


def test_micro_batches_are_as_large_as_each_other_to_within_one():
    assert [len(part) for part in a_batch(10).micro(4)] == [4, 3, 3]
    assert [len(part) for part in a_batch(5).micro(2)] == [3, 2]


def test_micro_batches_without_clinical_values_have_none():
    assert [part.clinical for part in a_batch(4, clinical=False).micro(2)] == [None, None]
