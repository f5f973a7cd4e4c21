"""Runs a command with secrets that lie in files: `NAME_FILE=/run/secrets/x` becomes `NAME=<what the file holds>`.

python -m deployments.entry <command> [arguments]

What containers start, so that no secret stands in a compose file or in the description of a container.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from glaucoma.errors import ArcError, SettingsError

SECRETS = ("ARC_DATABASE_URL", "ARC_REDIS_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
OPTIONAL = ("ARC_REDIS_URL",)
"""Those whose file may be empty, for what is not wanted: compose knows no secret that may be missing."""


def with_secrets(told: Mapping[str, str]) -> dict[str, str]:
    """The environment with each secret in place of the name of its file.

    Raises:
        SettingsError: A file that cannot be read, or is empty and must not be, or a secret that is given twice.
    """
    made = dict(told)
    for name in SECRETS:
        path = made.pop(f"{name}_FILE", None)
        if path is None:
            continue
        if name in told:
            raise SettingsError(f"{name} and {name}_FILE are both set", expected="one of them", remedy="unset one")
        if secret := _secret(name, Path(path)):
            made[name] = secret
    return made


def _secret(name: str, path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE: {path} cannot be read ({type(error).__name__})") from error
    if not secret and name not in OPTIONAL:
        raise SettingsError(f"{name}_FILE: {path} is empty", expected="the secret, in one line")
    return secret


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the command: same process id, so signals reach it."""
    os.execvpe(command[0], list(command), environment)  # noqa: S606  a list, no shell


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; does not return where the secrets are there."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    if not command:
        sys.stderr.write("No command was given. Expected: python -m deployments.entry <command> [arguments]\n")
        return 2
    try:
        environment = with_secrets(os.environ)
    except ArcError as error:
        sys.stderr.write(f"Failed: {error}\n")
        return error.exit_code
    return become(command, environment)


if __name__ == "__main__":
    sys.exit(main())
