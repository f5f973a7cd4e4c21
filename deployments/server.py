"""Starts Prefect's server with the database and the messaging that one setting each names.

python -m deployments.server [options of `prefect server start`]

ARC_DATABASE_URL: where the books lie; Prefect's own SQLite file where it is not set.
ARC_REDIS_URL: what several API servers on one database share; not needed for one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from deployments.entry import become
from glaucoma.errors import ArcError, SettingsError

DATABASE, REDIS = "ARC_DATABASE_URL", "ARC_REDIS_URL"
_POSTGRES = {"postgres", "postgresql", "postgresql+asyncpg"}
_SQLITE = "sqlite+aiosqlite"
_REDIS = {"redis", "rediss", "redis+sentinel", "rediss+sentinel"}


def server_environment(told: Mapping[str, str]) -> dict[str, str]:
    """What Prefect's server must find in its environment, beside what is there.

    Args:
        told: The environment, with `ARC_DATABASE_URL` and `ARC_REDIS_URL` where they are wanted.

    Raises:
        SettingsError: An address that is none, a kind of database that Prefect does not know, or Redis without the
            package that speaks to it.
    """
    made: dict[str, str] = {}
    if url := told.get(DATABASE):
        made["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = _database_url(url)
    if url := told.get(REDIS):
        made |= _redis(url)
    return made


def _database_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    known = scheme in _POSTGRES and _is_address(url)
    if not known and scheme != _SQLITE:
        raise SettingsError(
            f"{DATABASE} begins with {scheme!r}" if rest else f"{DATABASE} is no address",  # it may hold a password
            expected="postgresql://user:password@host:5432/database",
            consequence="The server was not started",
            remedy=f"correct {DATABASE}, or unset it to use a SQLite file",
        )
    return f"postgresql+asyncpg://{rest}" if known else url


def _redis(url: str) -> dict[str, str]:
    if url.partition("://")[0] not in _REDIS or not _is_address(url):
        raise SettingsError(
            f"{REDIS} is no address of Redis",
            expected="redis://:password@host:6379/0, or rediss:// with TLS",
            consequence="The server was not started",
            remedy=f"correct {REDIS}, or unset it: one API server needs no Redis",
        )
    if importlib.util.find_spec("prefect_redis") is None:
        raise SettingsError(
            f"{REDIS} is set, and the package prefect-redis is not installed",
            expected="prefect-redis where several API servers share one database",
            consequence="The server was not started",
            remedy="pip install 'arc-glaucoma[redis]', or unset the variable: one API server needs no Redis",
        )
    return {
        "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_REDIS_MESSAGING_URL": url,
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
        "PREFECT_SERVER_DOCKET_URL": url,
    }


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def server_command(arguments: Sequence[str]) -> list[str]:
    """The program that this one becomes."""
    return [sys.executable, "-m", "deployments.prefect_server", *arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; does not return where the settings are right."""
    try:
        made = server_environment(os.environ)
    except ArcError as error:
        sys.stderr.write(f"Failed: {error}\n")
        return error.exit_code
    command = server_command(sys.argv[1:] if arguments is None else arguments)
    return become(command, {**os.environ, **made})


if __name__ == "__main__":
    sys.exit(main())
