"""Prefect's `prefect server start`, with one repair of the library under its SQLite.

python -m deployments.prefect_server [options of `prefect server start`]

A statement that fails leaves its cursor open: SQLAlchemy 2.0 closes it only after success. Python's garbage collector
takes such a cursor whenever it likes, on the event loop's thread, and needs its connection's mutex to free it. Where
that connection waits for the write lock at that moment, the event loop stands still, and with it the one who holds the
lock: nobody goes on until the wait is given up after Prefect's 60 s, all that waited have failed with "database is
locked", and it often begins again. So a cursor whose statement failed is closed at once, in its own thread.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite

_CLOSING: set[asyncio.Future[None]] = set()
"""What closes a cursor right now: a task that nobody keeps is not sure to end."""


def close_failed_cursors() -> None:
    """From here on, in this process."""
    for name in ("execute", "executemany"):
        setattr(aiosqlite.Cursor, name, _closing(getattr(aiosqlite.Cursor, name)))


def _closing(run: Callable[..., Awaitable[aiosqlite.Cursor]]) -> Callable[..., Awaitable[aiosqlite.Cursor]]:
    @functools.wraps(run)
    async def closes_if_it_fails(self: aiosqlite.Cursor, *args: Any, **kwargs: Any) -> aiosqlite.Cursor:
        try:
            return await run(self, *args, **kwargs)
        except BaseException:  # cancelled too: its thread may still be waiting for the lock
            closing = asyncio.ensure_future(self.close())
            _CLOSING.add(closing)
            closing.add_done_callback(_closed)
            raise

    return closes_if_it_fails


def _closed(closing: asyncio.Future[None]) -> None:
    _CLOSING.discard(closing)
    if not closing.cancelled():
        closing.exception()  # the connection was closed meanwhile, and the cursor with it: nothing to tell


def main() -> None:
    """The command; does not return."""
    from prefect.cli import app

    close_failed_cursors()
    sys.argv[1:] = ["server", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
