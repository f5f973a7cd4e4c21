"""How a long function says how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and a line for a person."""


def silent(share: float, line: str) -> None:
    """Says nothing."""
