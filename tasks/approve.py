"""Approve: a plan waits for a person where the mode asks for one; what was decided is kept, and asked for once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Running
from prefect.variables import Variable
from pydantic import Field, create_model

from glaucoma.errors import InputError
from tasks.research import wait_noted
from tasks.stage import artifact_key, shown_if_possible
from tasks.stopping import STAGE_STOP
from tasks.terminal import ask_in_terminal, has_person

if TYPE_CHECKING:
    from glaucoma.planning.approval import Assessed, Mode
    from glaucoma.planning.approval_settings import ApprovalSettings
    from glaucoma.planning.cycle import CyclePlan
    from glaucoma.planning.settings import Rules
    from glaucoma.records.decision import Decision
    from glaucoma.workspace import Workspace

LOOK_EVERY_S = 5
"""How often a waiting run asks the server whether somebody has answered."""


class PlanAnswer(RunInput):
    """The form that Prefect's pages show under Resume."""

    approve: bool = Field(description="On: the experiments run, but for those under drop. Off: none of them.")
    by: str = Field(min_length=1, max_length=200, pattern=r"\S", description="Who says so. It is kept with the cycle.")
    drop: list[str] = Field(default=[], description="Experiments that are not to run.")
    comment: str = Field(default="", max_length=2000, description="Why. It is kept with the cycle.")


def approve(plan: CyclePlan, settings: ApprovalSettings, rules: Rules, workspace: Workspace) -> Any:
    """The proposals of `plan` that may run; or the state Cancelled, for the flow to end in, where none may.

    In which case a person is asked follows from the variable `arc_mode`. The answer lies beside the plan, and a cycle
    that is taken up again goes by it.

    Raises:
        SettingsError: The variable names no mode.
        InputError: A person must be asked, and there is neither a server with pages nor a terminal.
    """
    from glaucoma.planning.approval import MODE_VARIABLE, assess, mode_from, why_a_person
    from glaucoma.planning.approve import costs_of, keep_decision, kept_decision, proposals_to_run, without_a_person

    mode = mode_from(Variable.get(MODE_VARIABLE, default=None))
    assessed = assess(plan.proposals, costs_of(plan, workspace, mode), rules, settings)
    why = why_a_person(mode, assessed, settings)
    decision = kept_decision(plan, workspace)
    if decision is None or (why and not decision.why):  # what no person decided is no answer to a person's question
        decision = (
            _ask(plan, assessed, why, mode, settings, workspace)
            if why
            else without_a_person(plan, assessed, mode, _now())
        )
        if decision is None:
            return _unanswered(plan, settings, workspace)
        keep_decision(plan, decision, workspace)
    running = proposals_to_run(plan, decision, assessed, workspace, _now())
    if decision.why or decision.dropped:
        get_run_logger().info("%s", decision.sentence())
    return running or Cancelled(message=f"{plan.cycle_id}: {decision.sentence()}")


def _ask(
    plan: CyclePlan,
    assessed: list[Assessed],
    why: list[str],
    mode: Mode,
    settings: ApprovalSettings,
    workspace: Workspace,
) -> Decision | None:
    """The decision of a person; None where nobody answered in time."""
    from glaucoma.planning.approval import plan_markdown, plan_sha256
    from glaucoma.records.decision import Decision

    text = plan_markdown(plan, assessed, why)
    ids = [one.experiment_id for one in assessed]
    asked_at = _now()
    answer: Any
    if PREFECT_API_URL.value():
        _tell(plan, text, why, settings)
        with wait_noted(workspace):
            answer = _ask_in_pages(plan, text, ids, settings)
    elif has_person():
        with wait_noted(workspace), STAGE_STOP.while_idle():
            answer = ask_in_terminal(text, ids)
    else:
        raise InputError(
            f"The plan of {plan.cycle_id} waits for a person ({'; '.join(why)}), and there is nobody to ask",
            expected="a server with pages (make up), or a terminal",
            consequence="No experiment was run; the plan is kept",
            remedy="run it on a server or from a terminal, or: prefect variable set arc_mode auto --overwrite",
        )
    if answer is None:
        return None
    comment = " ".join(answer.comment.split())
    return Decision(
        plan_sha256=plan_sha256(plan),
        mode=mode.value,
        why=why,
        approved=answer.approve,
        by=" ".join(answer.by.split()),
        comment=comment,
        dropped={
            name: f"Dropped by {answer.by.strip()}{f': {comment}' if comment else ''}"
            for name in ids
            if name in set(answer.drop)
        },
        asked_at=asked_at,
        decided_at=_now(),
    )


def _ask_in_pages(plan: CyclePlan, text: str, ids: list[str], settings: ApprovalSettings) -> PlanAnswer | None:
    """Pauses the flow run until its form under Resume is filled in; None where nobody does in time."""
    one_of: Any = Literal[tuple(ids)]
    form = create_model(
        "PlanAnswer",
        __base__=PlanAnswer,
        drop=(list[one_of], Field(default=[], description="Experiments that are not to run.")),
    )
    get_run_logger().warning("The plan of %s waits for a person: Resume in Prefect's pages", plan.cycle_id)
    try:
        with STAGE_STOP.while_idle():
            return pause_flow_run(
                wait_for_input=form.with_initial_data(description=text),
                timeout=round(settings.wait_hours * 3600),
                poll_interval=LOOK_EVERY_S,
            )
    except FlowPauseTimeout:
        return None


def _tell(plan: CyclePlan, text: str, why: list[str], settings: ApprovalSettings) -> None:
    """Shows the plan in the pages, and raises the event that an automation tells a person by."""
    with shown_if_possible():
        create_markdown_artifact(text, key=artifact_key("approval", plan.cycle_id), description="A plan waits")
    emit_event(
        "arc.plan.waits",
        resource={"prefect.resource.id": f"arc.research.{plan.dataset}", "prefect.resource.name": plan.dataset},
        payload={
            "cycle_id": plan.cycle_id,
            "experiments": len(plan.proposals),
            "why": why,
            "wait_hours": settings.wait_hours,
            "flow_run_id": str(runtime.flow_run.id),
        },
    )


def _unanswered(plan: CyclePlan, settings: ApprovalSettings, workspace: Workspace) -> Any:
    from glaucoma.planning.approve import end_unanswered

    reason = f"Nobody answered within {settings.wait_hours:g} h whether the plan of {plan.cycle_id} may run"
    end_unanswered(plan, workspace, reason, _now())
    with get_client(sync_client=True) as client:  # out of a pause that is over the server lets nobody but into Failed
        client.set_flow_run_state(UUID(str(runtime.flow_run.id)), Running(), force=True)
    return Cancelled(name=UNANSWERED, message=f"{reason}. The same start asks again")


UNANSWERED = "Unanswered"
"""Name of the state in which a cycle ends that nobody decided on."""


def _now() -> datetime:
    return datetime.now(UTC)
