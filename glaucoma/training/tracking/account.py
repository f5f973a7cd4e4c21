"""A W&B account: a plain value that carries its key and never shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from glaucoma.errors import SettingsError

PUBLIC_SERVICE = "https://api.wandb.ai"


@dataclass(frozen=True)
class Account:
    """Who sends runs to which W&B server, checked when made.

    Attributes:
        api_key: The key; it stands in no parameter, log, record or command line.
        base_url: The server, `https://` or `http://`.
        entity: The user or team that the runs belong to; None: the key's own.
    """

    api_key: str = field(repr=False)
    base_url: str = PUBLIC_SERVICE
    entity: str | None = None

    def __post_init__(self) -> None:
        if not self.api_key.strip():
            raise SettingsError("The W&B account has no API key", remedy="fill in api_key in its block wandb-account")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise SettingsError(
                "The W&B account's base_url does not serve",
                expected=f"http:// or https:// and a host, without user and password, such as {PUBLIC_SERVICE}",
            )

    def redact(self, text: str) -> str:
        """`text` without the key, whoever put it there."""
        return text.replace(self.api_key, "***")
