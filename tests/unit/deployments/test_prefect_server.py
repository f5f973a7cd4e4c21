"""What was found in Prefect's SQLite, made again with nothing but aiosqlite."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from deployments.prefect_server import close_failed_cursors

LONG_MS = 3_000


@pytest.fixture
def repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repair, taken back at the end."""
    for name in ("execute", "executemany"):
        monkeypatch.setattr(aiosqlite.Cursor, name, getattr(aiosqlite.Cursor, name))
    close_failed_cursors()


async def frees_a_failed_cursor_while_its_connection_waits(path: Path) -> str:
    """Gives what came of the statement that waited, after the event loop has let the lock go."""
    a, b = (aiosqlite.connect(path, isolation_level=None) for _ in range(2))
    async with a as holder, b as waiter:
        await holder.execute("CREATE TABLE t (x INTEGER NOT NULL)")
        await waiter.execute(f"PRAGMA busy_timeout = {LONG_MS}")
        failed = await waiter.cursor()
        with pytest.raises(sqlite3.IntegrityError):
            await failed.execute("INSERT INTO t VALUES (NULL)")
        await holder.execute("BEGIN IMMEDIATE")
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        await waiter.set_trace_callback(lambda _: loop.call_soon_threadsafe(begun.set))
        waiting = asyncio.ensure_future(waiter.execute("BEGIN IMMEDIATE"))
        await begun.wait()  # told from inside the statement, which has its connection's mutex from then on
        del failed
        gc.collect()
        await holder.execute("COMMIT")
        try:
            await waiting
        except sqlite3.OperationalError as error:
            return str(error)
        await waiter.execute("ROLLBACK")
        return "had the lock"


def test_a_failed_cursor_does_not_stop_the_event_loop(repaired: None, tmp_path: Path) -> None:
    del repaired
    assert asyncio.run(frees_a_failed_cursor_while_its_connection_waits(tmp_path / "a.db")) == "had the lock"
