"""The Prefect profile `arc`: the settings of a server that is not open to everybody, and what its clients need.

The server gets them as its environment. Clients find them in the profile that `make up` writes and makes active, so
that plain `prefect ...` and `python -m flows...` speak to that server without an export.
"""

from __future__ import annotations

import os
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_PROFILES_PATH,
    Profile,
    ProfilesCollection,
    load_profiles,
    save_profiles,
    temporary_settings,
)

from glaucoma.errors import SettingsError
from glaucoma.workspace import Workspace

PROFILE = "arc"
USER = "arc"
"""Of the basic authentication."""
_DEFAULT = "ephemeral"
"""The profile that is active where nobody chose one: an embedded server for each command."""
_DEFAULT_SETTINGS = {"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
_PASSWORD = re.compile(r"[\x21-\x39\x3b-\x7e]{12,200}")
_PASSWORD_BYTES = 24
_OWNER_ONLY, _OTHERS = 0o600, 0o077

_NO_TELEMETRY = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
_HOLDS = {
    # Leases in memory are lost when the server restarts: healthy runs are cancelled then, or a place leaks for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
_IN_BATCHES = {
    # Of what runs report: four times as much as with Prefect's defaults; a page shows it up to a second later.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
}


def host_and_port() -> tuple[str, int]:
    """Where the server listens: Prefect's own settings, 127.0.0.1:4200 by default."""
    return os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1"), int(
        os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    )


def pages_url(name: str | None = None) -> str:
    """The address of the server's pages, by the host that it listens on or by another name of it."""
    host, port = host_and_port()
    shown = name or host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"  # an IPv6 address has colons


def api_url() -> str:
    """The address of the server's API."""
    return f"{pages_url()}/api"


def password_file(workspace: Workspace) -> Path:
    """Where the server's password lies."""
    return workspace.root / ".services" / "password"


def password(workspace: Workspace) -> str:
    """The server's password; the first call makes one, which its owner alone can read.

    Raises:
        SettingsError: The file holds something that cannot be one, or is another user's.
    """
    path = password_file(workspace)
    try:
        if not path.exists():
            _make_password(path)
        if path.stat().st_mode & _OTHERS:
            path.chmod(_OWNER_ONLY)
        found = path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError as error:
        raise SettingsError(
            f"The server's password, {path}, cannot be read or closed to others by this user",
            expected="a file of the user who started the server by `make up`",
            consequence="Nothing was asked of the server, and nothing was changed",
            remedy="do this as that user; to look at the server, sign in to its pages with the password",
        ) from error
    if not _PASSWORD.fullmatch(found):
        raise SettingsError(
            f"{path} holds no password of {len(found)} characters that could be used",
            expected="12 to 200 printable characters without blanks and ':'",
            remedy="write one into it, or remove the file: the next `make up` makes one",
        )
    return found


def _make_password(path: Path) -> None:
    """Whole or not at all; of two that make one at once, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".password.partial-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def client_environment(workspace: Workspace, *, make_password: bool = True) -> dict[str, str]:
    """What a worker, a run or a shell needs to speak to the server of this workspace.

    Args:
        make_password: Whether to make one where there is none; without it nothing is written.
    """
    known = make_password or password_file(workspace).exists()
    return {
        "PREFECT_API_URL": api_url(),
        **({"PREFECT_API_AUTH_STRING": f"{USER}:{password(workspace)}"} if known else {}),
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        **_NO_TELEMETRY,
    }


def server_environment(workspace: Workspace) -> dict[str, str]:
    """What the server is told, in Prefect's own variables; a client's part is in it."""
    host, port = host_and_port()
    origins = dict.fromkeys(pages_url(name) for name in (host, "127.0.0.1", "localhost"))
    return {
        **client_environment(workspace),
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{password(workspace)}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
        **_HOLDS,
        **_IN_BATCHES,
    }


@contextmanager
def speaking_to_server(workspace: Workspace, *, make_password: bool = True) -> Iterator[None]:
    """Within it, this process is a client of the server of this workspace, and so are the processes that it starts.

    Args:
        make_password: As of `client_environment`.
    """
    variables = client_environment(workspace, make_password=make_password)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    settings = {
        PREFECT_API_URL: variables["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: variables.get("PREFECT_API_AUTH_STRING"),
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: True,
    }
    try:
        with temporary_settings(updates=settings):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def activate_profile(workspace: Workspace) -> str:
    """Writes the profile; makes it active where nobody chose another one. Gives a line that says what is active.

    A profile of that name that leads to another server, which runs, is left alone.
    """
    profiles = load_profiles(include_defaults=False)
    url = _url_of(profiles)
    if url and url != api_url() and _answers(url):
        return (
            f"profile {PROFILE}: belongs to the server at {url}, which runs. For this one: "
            f"export PREFECT_API_URL={api_url()} PREFECT_API_AUTH_STRING={USER}:$(cat {password_file(workspace)})"
        )
    if PROFILE in profiles.names:
        profiles.remove_profile(PROFILE)
    profiles.add_profile(Profile(name=PROFILE, settings=server_environment(workspace), source=_path()))
    chosen = _chosen(profiles)
    if chosen is None:
        profiles.set_active(PROFILE)
    _save(profiles)
    if chosen is None:
        return f"profile {PROFILE}: active, so that plain `prefect ...` speaks to this server"
    return f"profile {PROFILE}: written; {chosen} stays active. To use it: prefect profile use {PROFILE}"


def deactivate_profile() -> str | None:
    """Takes the profile of this server away again; what was active before it, Prefect's default, is active then.

    Gives a line that says so; None where there is no such profile, or where it leads to another server.
    """
    profiles = load_profiles(include_defaults=False)
    if _url_of(profiles) != api_url():
        return None
    profiles.remove_profile(PROFILE)
    if profiles.active_name == PROFILE:
        profiles.set_active(_DEFAULT, check=False)
    _save(profiles)
    return f"profile {PROFILE}: taken away; {profiles.active_name} is active"


def _chosen(profiles: ProfilesCollection) -> str | None:
    """The profile that a person chose or changed; None where it is ours, or Prefect's default as it came."""
    active = os.environ.get("PREFECT_PROFILE") or profiles.active_name or _DEFAULT
    if active == PROFILE:
        return None
    if active == _DEFAULT and "PREFECT_PROFILE" not in os.environ:
        changed = _DEFAULT in profiles.names and profiles[_DEFAULT].to_environment_variables() != _DEFAULT_SETTINGS
        return _DEFAULT if changed else None
    return active


def _url_of(profiles: ProfilesCollection) -> str | None:
    if PROFILE not in profiles.names:
        return None
    return profiles[PROFILE].to_environment_variables().get("PREFECT_API_URL")


def _path() -> Path:
    path = PREFECT_PROFILES_PATH.value()
    if not isinstance(path, Path):
        raise SettingsError("Prefect knows no file for its profiles", remedy="set PREFECT_HOME")
    return path


def _save(profiles: ProfilesCollection) -> None:
    """Whole or not at all, and for its owner alone: it holds the password."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=_OWNER_ONLY)
    try:
        with temporary_settings(updates={PREFECT_PROFILES_PATH: temporary}):
            save_profiles(profiles)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310  http, as the line above says
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
