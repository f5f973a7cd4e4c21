import pytest
from pydantic import ValidationError

from flows.queues import QueueChoice, parse_queue, queue_name, queue_names


def test_queues_stand_in_the_order_of_urgency():
    names = queue_names(["any", "gpu0"])
    assert names[:3] == ["p00-any", "p00-gpu0", "p01-any"]
    assert names[-1] == "p10-gpu0"
    assert sorted(names) == names


@pytest.mark.parametrize("target", ["any", "all", "gpu0", "gpu17"])
def test_a_name_tells_what_it_was_made_of(target):
    assert parse_queue(queue_name(7, target)) == (7, target)


@pytest.mark.parametrize("name", ["default", "p5-any", "p05-gpu", "p05-any ", "xp05-any"])
def test_other_names_tell_nothing(name):
    assert parse_queue(name) is None


@pytest.mark.parametrize("wrong", [{"priority": 11}, {"priority": -1}, {"gpu": "gpu"}, {"gpu": "0"}, {"gpu": "gpu0\n"}])
def test_a_choice_outside_the_bounds_is_refused(wrong):
    with pytest.raises(ValidationError):
        QueueChoice(**wrong)


def test_the_usual_choice_is_any_gpu_in_the_middle():
    assert QueueChoice().name == "p05-any"
