from dataclasses import asdict

import pytest

from glaucoma.errors import IntegrityError
from glaucoma.training.state import State, read_state

BATCHES = 4
STANDS = {
    "epoch": 1,
    "next_batch": 2,
    "loss_sums": [3.5],
    "images_seen": [8],
    "best_epoch": 1,
    "best_rank": [0.7, -0.3],
    "lowest_loss": 0.5,
}


def test_what_was_saved_is_read_again(make_spec):
    spec = make_spec(epochs=3, patience=1)
    for state in (
        State(),
        State(**STANDS),
        State(**{**STANDS, "loss_sums": [3.5, 0.0], "images_seen": [8, 0], "best_rank": [float("-inf"), -0.3]}),
        State(**{**STANDS, "next_batch": BATCHES + 1}),  # done by one process, read by two
        State(epoch=3, best_epoch=3, best_rank=[1.0, -0.1], ended_by="epochs"),
        State(epoch=2, best_epoch=1, best_rank=[1.0, -0.1], since_best=1, ended_by="patience"),
    ):
        assert read_state(asdict(state), spec, BATCHES) == state


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 4},
        {"epoch": -1},
        {"epoch": True},
        {"epoch": 3},  # the last one's end, and not ended
        {"next_batch": -3},
        {"next_batch": 6},
        {"next_batch": 0},
        {"loss_sums": "abc"},
        {"loss_sums": [float("nan")]},
        {"loss_sums": []},
        {"images_seen": [0]},
        {"images_seen": [8.0]},
        {"best_epoch": 2},
        {"best_epoch": 0},
        {"best_rank": ["a", "b"]},
        {"best_rank": [0.5]},
        {"since_best": 2},
        {"lowest_loss": None},
        {"exploded": 3},
        {"ended_by": "epochs"},
        {"ended_by": "patience"},
        {"ended_by": "cannot_catch_up"},
        {"ended_by": ["epochs"]},
    ],
    ids=str,
)
def test_a_place_to_which_no_run_comes_is_refused_by_name(changed, make_spec):
    saved = {**asdict(State(**STANDS)), **changed}
    with pytest.raises(IntegrityError, match=r"its state has .*to which no run of this experiment comes"):
        read_state(saved, make_spec(epochs=3, patience=2), BATCHES)


def test_other_names_are_refused(make_spec):
    with pytest.raises(IntegrityError, match="its state has epoch"):
        read_state({"epoch": 1}, make_spec(), BATCHES)
