"""The decision on a cycle's plan: who, when, what, and of which plan. `cycles/<cycle_id>/approval.json`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.errors import IntegrityError, problems
from glaucoma.provenance import write_json

DECISION_NAME = "approval.json"


class Decision(BaseModel):
    """What was decided on a plan. It is written once, and a cycle that is taken up again goes by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan_sha256: str = Field(description="Of the plan's experiments: another plan needs another decision.")
    mode: str = Field(description="manual, semi or auto, as it was when the decision was made.")
    why: list[str] = Field(description="Why a person was asked; empty where none was.")
    approved: bool
    by: str = Field(description="Who says so, in their own words; nobody has checked that.")
    comment: str = ""
    dropped: dict[str, str] = Field(default_factory=dict, description="Experiment -> why it is not run.")
    asked_at: datetime
    decided_at: datetime

    def sentence(self) -> str:
        """For a report."""
        if not self.why:
            return f"Nobody was asked for the plan (mode {self.mode}); {len(self.dropped)} experiments broke a rule."
        what = "approved" if self.approved else "not approved"
        dropped = f", without {', '.join(self.dropped)}" if self.approved and self.dropped else ""
        comment = f': "{self.comment}"' if self.comment else ""
        return f"The plan was {what} by {self.by} at {self.decided_at:%Y-%m-%d %H:%M} UTC{dropped}{comment}."


def write_decision(folder: Path, decision: Decision) -> None:
    """Writes it into a cycle's folder, whole or not at all."""
    write_json(folder / DECISION_NAME, decision.model_dump(mode="json"))


def read_decision(folder: Path) -> Decision | None:
    """The decision in a cycle's folder; None where there is none. `IntegrityError` where it cannot be read."""
    path = folder / DECISION_NAME
    try:
        return Decision.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IntegrityError(
            f"{path} is no valid decision ({problems(error)})", remedy="remove the file: the plan is asked for again"
        ) from error
