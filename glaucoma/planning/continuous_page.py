"""Where a continuous research stands, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from glaucoma.planning.continuous import CycleEnd, ResearchState, Start, Step, Stop, Wait, failed_text

_SHOWN = 20


def step_text(step: Step) -> str:
    """What happens next, in a sentence."""
    if isinstance(step, Start):
        what = (
            f"cycle {step.number}, which was cut off, can go on" if step.cut_off else f"cycle {step.number} can start"
        )
        return f"{what} now"
    if isinstance(step, Wait):
        until = "a person says go-on" if step.until is None else f"{step.until:%Y-%m-%d %H:%M} UTC"
        return f"waits until {until} ({step.reason})"
    return f"is off ({step.reason})"


def spent_lines(state: ResearchState) -> list[str]:
    """What was used of the budget, a line a kind."""
    spent, budget = state.spent, state.settings.budget
    lines = [
        f"{spent.cycles} of {budget.cycles or 'any number of'} cycles",
        f"{spent.hours:.2f} of {budget.hours or 'any number of'} hours",
        f"{spent.gpu_hours:.2f} of {budget.gpu_hours or 'any number of'} GPU hours",
    ]
    if spent.cpu_hours > 0:
        lines[-1] += f"; {spent.cpu_hours:.2f} hours of training were on the CPU, which count 0"
    return lines


def page(state: ResearchState, step: Step, journal: Sequence[CycleEnd], *, running: bool) -> str:
    """All of it, as markdown."""
    lines = [f"# Research {state.name}", f"**{_now_text(state, step, running=running)}**"]
    lines.append("\n".join(f"- Used: {line}" for line in spent_lines(state)))
    if state.failures:
        why = f" ({state.failure})" if state.failure else ""
        lines.append(f"{failed_text(state)}{why}; after {state.settings.failures.stop_after} in a row it stops.")
    if state.settings.quiet is not None and isinstance(step, Wait) and step.until is not None:
        local = step.until.astimezone(ZoneInfo(state.settings.quiet.timezone))
        lines.append(f"That is {local:%Y-%m-%d %H:%M} {state.settings.quiet.timezone}.")
    if journal:
        rows = ["| cycle | id | ended (UTC) | hours | GPU hours | outcome |", "| --- | --- | --- | --- | --- | --- |"]
        rows += [_row(end) for end in reversed(journal[-_SHOWN:])]
        lines.append("\n".join(rows))
    return "\n\n".join(lines)


def _now_text(state: ResearchState, step: Step, *, running: bool) -> str:
    under_way = state.under_way
    if running and under_way is not None:
        then = " It stops after that." if state.stop_after_cycle or isinstance(step, Stop) else ""
        then = then or (" It is paused after that." if state.paused else "")
        return (
            f"Cycle {under_way.number} runs since {under_way.started_at:%Y-%m-%d %H:%M} UTC ({under_way.where}).{then}"
        )
    said = step_text(step)
    return f"{said[0].upper()}{said[1:]}."


def _row(end: CycleEnd) -> str:
    reason = " ".join(end.reason.replace("|", "/").split())
    outcome = f"{end.outcome}: {reason}" if reason else str(end.outcome)
    return (
        f"| {end.number} | {end.cycle_id or 'not planned'} | {end.ended_at:%Y-%m-%d %H:%M} | {end.hours:.2f} "
        f"| {end.gpu_hours:.2f} | {outcome} |"
    )
