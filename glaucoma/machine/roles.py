"""What each GPU of a machine is for, by the policy file that its workers obey."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glaucoma.errors import SettingsError, problems

POLICY_VARIABLE = "ARC_GPU_POLICY"


class _Roles(BaseModel):
    """What is read of the policy here; its other settings are the workers' own."""

    model_config = ConfigDict(extra="ignore")

    experiment: list[int] = Field(default_factory=list)
    inference: list[int] = Field(default_factory=list)


def roles(default: Path, environment: Mapping[str, str] | None = None) -> dict[int, str]:
    """GPU -> `experiment` or `inference`; empty where there is no policy file.

    Args:
        default: The policy file where the environment names none.
        environment: The process's own where not given.

    Raises:
        SettingsError: The file cannot be read, or is no such policy.
    """
    given = (os.environ if environment is None else environment).get(POLICY_VARIABLE)
    path = Path(given) if given else default
    if not given and not path.is_file():
        return {}
    try:
        read = _Roles.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        raise SettingsError(
            f"The GPU policy {path} cannot be read ({problems(error)})",
            expected="a YAML file such as: experiment: [0, 1]",
            remedy=f"mend it, or name another file by {POLICY_VARIABLE}",
        ) from error
    return {**dict.fromkeys(read.experiment, "experiment"), **dict.fromkeys(read.inference, "inference")}
