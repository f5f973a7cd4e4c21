"""What a run does before its flow is loaded: the pull step of every deployment."""

from __future__ import annotations

import os

from deployments.declaration import PROJECT


def stand_in_project() -> dict[str, str]:
    """Goes to the folder of the project that the run's own Python has installed, wherever that lies on its machine."""
    os.chdir(PROJECT)
    return {"directory": str(PROJECT)}
