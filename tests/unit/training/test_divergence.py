import math

import pytest

from glaucoma.training.divergence import diverged, epochs_exploded, exploded


@pytest.mark.parametrize(
    ("loss", "best", "expected"),
    [
        (6.9, 0.7, False),
        (7.1, 0.7, True),
        (0.44, 0.0001, False),  # a network that knows its images by heart may falter
        (0.46, 0.0001, True),
        (-0.1, -0.3, False),  # none of the losses is negative; one that were would be judged by its size
        (2.5, -0.3, True),
        (1e9, math.inf, False),  # the first epoch has no best before it
    ],
)
def test_a_loss_has_exploded_above_ten_times_its_best(loss, best, expected):
    assert exploded(loss, best) is expected


def test_only_epochs_in_a_row_count():
    assert epochs_exploded(9.0, 0.5, before=1) == 2
    assert epochs_exploded(0.6, 0.5, before=2) == 0


def test_the_error_says_where_and_names_the_learning_rate():
    assert "The loss of cls-x is nan in epoch 3: it diverged" in str(diverged("cls-x", "is nan", 3, 0.02))
    assert "lower the learning rate, which is 0.02" in str(diverged("cls-x", "is nan", 3, 0.02))
