"""Where registered datasets are kept: a plain value that carries its credentials and never shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from glaucoma.errors import SettingsError

S3 = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?|[0-9a-f.]*:[0-9a-f:.]+")
_HIDDEN = "***"


@dataclass(frozen=True)
class Remote:
    """A place that DVC copies datasets to, checked when made.

    Attributes:
        url: An absolute folder, `s3://bucket/prefix`, or another address that DVC knows; no user, no password.
        endpoint_url: The S3 service, where it is not Amazon's; `http://` or `https://`.
        region: The S3 service's region.
        access_key_id: With `secret_access_key`, the credentials; without them S3's own means (environment, profile).
        secret_access_key: Its other half.
    """

    url: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        refuse_credentials(self.url)
        _check_url(self.url)
        if not self.is_s3 and any(getattr(self, name) is not None for name in _ONLY_S3):
            raise SettingsError(
                f"The remote {self.url} has an endpoint, a region or keys", expected="these with s3:// only"
            )
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise SettingsError(
                f"The remote {self.url} has one half of a pair of keys",
                expected="access_key_id and secret_access_key, or neither",
            )
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)

    @property
    def is_s3(self) -> bool:
        return self.url.startswith(S3)

    def __str__(self) -> str:
        return f"{self.url} at {self.endpoint_url}" if self.endpoint_url else self.url

    def redact(self, text: str) -> str:
        """`text` without this remote's credentials, whoever put them there."""
        for secret in (self.secret_access_key, self.access_key_id):
            text = text.replace(secret, _HIDDEN) if secret else text
        return text

    def dvc_settings(self) -> dict[str, str | bool | int]:
        """This remote as DVC's configuration has it, credentials included: to be handed over, not to be written."""
        settings: dict[str, str | bool | int] = {"url": self.url, "verify": True}
        if self.is_s3:
            settings |= {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
        given = {
            "endpointurl": self.endpoint_url,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return settings | {name: value for name, value in given.items() if value is not None}


CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
_ONLY_S3 = ("endpoint_url", "region", "access_key_id", "secret_access_key")


def refuse_credentials(url: str) -> None:
    """`SettingsError`, which does not repeat it, where a URL holds a user or a password.

    A URL is a setting, and settings are kept by Prefect and shown in its pages.
    """
    if "://" in url and "@" in url.partition("://")[2].partition("/")[0]:
        raise SettingsError(
            f"The {url.partition('://')[0]}:// address of the remote holds a user or a password",
            expected="an address without them; a setting is kept and shown in Prefect's pages",
            remedy="keep the keys in a block of type dvc-remote and name it with remote_block",
        )


def _check_url(url: str) -> None:
    if not url or not url.isprintable():
        raise SettingsError("The address of the remote is empty or holds control characters")
    if "://" not in url:
        if not Path(url).is_absolute():
            shown = repr(url) if "@" not in url else "(not shown: it may hold a password)"
            raise SettingsError(f"The remote {shown} is no absolute folder", expected="/a/folder or s3://bucket/prefix")
        return
    if url.startswith(S3):
        bucket = url.removeprefix(S3).partition("/")[0]
        if not _BUCKET.fullmatch(bucket):
            raise SettingsError(f"{url!r} names no bucket", expected="s3://bucket/prefix, the bucket in lower case")


def _check_endpoint(endpoint: str) -> None:
    refuse_credentials(endpoint)
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    # The S3 library takes no other host, and a container's name often has an underscore.
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not endpoint.isprintable():
        raise SettingsError(
            f"The endpoint {endpoint!r} is no address",
            expected="http://host:port or https://host, the host of letters, digits, '-' and '.'",
        )
