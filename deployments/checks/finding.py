"""What a check found."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict

_NAME_CHARACTERS, _LEVEL_CHARACTERS = 14, 8


class Level(Enum):
    """How bad it is: a fault keeps something from working, a warning does not, or not yet."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    level: Level
    found: str
    remedy: str = ""

    def line(self) -> str:
        """For a person."""
        then = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.level.value:<{_LEVEL_CHARACTERS}} {self.name:<{_NAME_CHARACTERS}} {self.found}{then}"


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.OK, found=found)


def warning(name: str, found: str, remedy: str) -> Finding:
    """It works, with less than it could, or not for long."""
    return Finding(name=name, level=Level.WARNING, found=found, remedy=remedy)


def fault(name: str, found: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(name=name, level=Level.FAULT, found=found, remedy=remedy)
