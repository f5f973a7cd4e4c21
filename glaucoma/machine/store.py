"""The readings of one machine, kept in one SQLite file: every one for a while, then means, then nothing.

SQLite keeps a rollback journal beside the file: a kill at any moment leaves the last whole transaction, and of two
writers one waits for the other. The journal is no write-ahead log, because a workspace may lie on a network disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from glaucoma.machine.drained import this_host
from glaucoma.machine.readings import HOME, WORKSPACE, GpuReading, HostReading, Reading
from glaucoma.machine.settings import KeepSettings
from glaucoma.workspace import Workspace

GPU_FIGURES = (
    "memory_used_mb", "memory_total_mb", "load_percent", "memory_load_percent", "temperature_c", "power_w",
    "power_limit_w", "fan_percent", "ecc_corrected", "ecc_uncorrected", "errors",
)  # fmt: skip
HOST_FIGURES = (
    "load_1min", "memory_total_mb", "memory_available_mb", "swap_used_mb", "workspace_free_gb", "home_free_gb",
)  # fmt: skip
_COUNTERS = frozenset({"ecc_corrected", "ecc_uncorrected", "errors"})
"""Of these the highest is kept, not the mean."""
_WAIT_S = 30.0
_HOST = -1
"""In place of a GPU's number."""


@dataclass(frozen=True)
class Row:
    """The figures of a GPU, or of the machine, at one moment or over a span."""

    at_s: float
    """Seconds since 1970; of a span its beginning."""
    span_s: float
    """0: one reading."""
    figures: Mapping[str, float | None]


def store_path(workspace: Workspace, host: str | None = None) -> Path:
    """Where a machine's readings lie; this one's by default."""
    return workspace.machine / (host or this_host()) / "readings.db"


@contextlib.contextmanager
def only_watch(workspace: Workspace) -> Iterator[bool]:
    """Holds this machine's turn to watch while the block runs; yields False where another process holds it."""
    path = store_path(workspace).with_name("watch.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Store:
    """The readings of one machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._begun() as db:
            for table, figures in (("gpu", GPU_FIGURES), ("host", HOST_FIGURES)):
                columns = ", ".join(f"{name} REAL" for name in figures)
                db.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (at REAL NOT NULL, span_s REAL NOT NULL, "
                    f"gpu INTEGER NOT NULL, {columns}, PRIMARY KEY (gpu, span_s, at)) WITHOUT ROWID"
                )
            db.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID")

    @contextlib.contextmanager
    def _begun(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in: all of it is kept, or nothing."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def put(self, readings: Sequence[Reading]) -> None:
        """Keeps these; one of the same moment is replaced."""
        with self._begun() as db:
            for reading in readings:
                at = reading.at.timestamp()
                for gpu in reading.gpus:
                    _insert(db, "gpu", at, 0.0, gpu.gpu, gpu_figures(gpu))
                _insert(db, "host", at, 0.0, _HOST, host_figures(reading.machine))

    def states(self) -> dict[str, float]:
        """What was last told of this machine, by name (`glaucoma.machine.conditions`)."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as db:
            return dict(db.execute("SELECT name, value FROM state"))

    def put_states(self, states: Mapping[str, float]) -> None:
        """Puts these in place of what was told before."""
        with self._begun() as db:
            db.execute("DELETE FROM state")
            db.executemany("INSERT INTO state VALUES (?, ?)", states.items())

    def gpu_rows(self, gpu: int, since: datetime) -> list[Row]:
        """What is kept of a GPU since then, in order of time."""
        return self._rows("gpu", GPU_FIGURES, gpu, since)

    def host_rows(self, since: datetime) -> list[Row]:
        """What is kept of the machine since then, in order of time."""
        return self._rows("host", HOST_FIGURES, _HOST, since)

    def gpus(self, since: datetime) -> list[int]:
        """The GPUs that were read since then."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as db:
            return [
                row[0]
                for row in db.execute("SELECT DISTINCT gpu FROM gpu WHERE at >= ? ORDER BY gpu", (since.timestamp(),))
            ]

    def _rows(self, table: str, figures: Sequence[str], gpu: int, since: datetime) -> list[Row]:
        query = f"SELECT at, span_s, {', '.join(figures)} FROM {table} WHERE gpu = ? AND at >= ? ORDER BY at"  # noqa: S608  names of this module
        with contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as db:
            found = db.execute(query, (gpu, since.timestamp())).fetchall()
        return [Row(at, span, dict(zip(figures, values, strict=True))) for at, span, *values in found]

    def thin(self, keep: KeepSettings, now: datetime) -> None:
        """Makes means of what is older than `keep.full_hours`, and removes what is older than `keep.keep_days`."""
        span = 60.0 * keep.mean_minutes
        full = math.floor((now.timestamp() - 3600 * keep.full_hours) / span) * span  # whole spans alone
        oldest = now.timestamp() - 86_400 * keep.keep_days
        with self._begun() as db:
            for table, figures in (("gpu", GPU_FIGURES), ("host", HOST_FIGURES)):
                means = ", ".join(f"{'MAX' if name in _COUNTERS else 'AVG'}({name})" for name in figures)
                begins = f"CAST(at / {span} AS INTEGER) * {span}"
                db.execute(
                    f"INSERT OR REPLACE INTO {table} SELECT {begins} AS begins, {span}, gpu, {means} FROM {table} "  # noqa: S608
                    "WHERE span_s = 0 AND at < ? GROUP BY gpu, begins",
                    (full,),
                )
                db.execute(f"DELETE FROM {table} WHERE span_s = 0 AND at < ?", (full,))  # noqa: S608
                db.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608


def opened_store(path: Path) -> tuple[Store, str]:
    """The store at `path`, and what a person is to be told: a file that is no store any more is set aside.

    Old figures are worth less than that the machine is watched.
    """
    try:
        store = Store(path)
        store.states()
    except sqlite3.OperationalError:  # busy, or a full disk: the file is as it was
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.rename(aside)
        return Store(path), f"{path} cannot be read ({error}). It was set aside as {aside.name}, and a new one begun"
    return store, ""


def gpu_figures(gpu: GpuReading) -> dict[str, float | None]:
    """What is kept of a GPU's reading."""
    kept = {name: getattr(gpu, name) for name in GPU_FIGURES if name != "errors"}
    return {**kept, "errors": 0.0 if gpu.error is None else 1.0}


def host_figures(machine: HostReading) -> dict[str, float | None]:
    """What is kept of the machine's reading."""
    kept = {name: getattr(machine, name) for name in HOST_FIGURES if not name.endswith("_free_gb")}
    return {**kept, "workspace_free_gb": machine.free_gb(WORKSPACE), "home_free_gb": machine.free_gb(HOME)}


def _insert(
    db: sqlite3.Connection, table: str, at_s: float, span_s: float, gpu: int, figures: Mapping[str, float | None]
) -> None:
    names, marks = ", ".join(figures), ", ".join("?" for _ in figures)
    db.execute(
        f"INSERT OR REPLACE INTO {table} (at, span_s, gpu, {names}) VALUES (?, ?, ?, {marks})",  # noqa: S608
        (at_s, span_s, gpu, *figures.values()),
    )
