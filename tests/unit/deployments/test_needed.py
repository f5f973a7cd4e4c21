import asyncio
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from deployments.needed import refuse_if_deployment_is_needed
from glaucoma.errors import InputError


class Server:
    """Has these runs, and gives some at a time."""

    def __init__(self, runs):
        self.runs = runs

    async def read_flow_runs(self, offset, limit, **among):
        return self.runs[offset : offset + min(limit, 2)]


def run(name, state, *, auto_scheduled):
    return FlowRun(flow_id=uuid4(), name=name, state_type=state, auto_scheduled=auto_scheduled)


def ask(*runs):
    asyncio.run(refuse_if_deployment_is_needed(Server(list(runs)), uuid4()))


def test_what_a_schedule_made_for_later_keeps_no_deployment():
    ask()
    ask(*(run(f"later-{number}", StateType.SCHEDULED, auto_scheduled=True) for number in range(5)))


@pytest.mark.parametrize("state", [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING])
def test_one_that_a_schedule_made_and_that_has_begun_keeps_it(state):
    later = run("later", StateType.SCHEDULED, auto_scheduled=True)
    with pytest.raises(InputError, match="1 runs wait or run there, such as begun"):
        ask(later, later, run("begun", state, auto_scheduled=True))


def test_one_that_waits_for_another_attempt_keeps_it():
    again = run("again", StateType.SCHEDULED, auto_scheduled=True).model_copy(update={"run_count": 1})
    with pytest.raises(InputError, match="such as again"):
        ask(again)


def test_one_that_a_person_asked_for_keeps_it_before_it_begins():
    with pytest.raises(InputError, match="such as asked-for"):
        ask(run("asked-for", StateType.SCHEDULED, auto_scheduled=False))
