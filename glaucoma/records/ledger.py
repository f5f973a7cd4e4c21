"""The memory of the research: every experiment with its reason and result, every cycle, every look at the test split.

SQLite in the workspace by default, PostgreSQL by URL. Writes are single upserts, so that doing one again changes
nothing and two processes do not hinder each other.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import to_json, to_jsonable_python
from sqlalchemy import URL, Engine, Table, create_engine, event, make_url, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.exc import IntegrityError as RowError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from glaucoma.errors import IntegrityError, NotFoundError, SettingsError, TransientError
from glaucoma.provenance import digest, exclusive
from glaucoma.records.tables import SCHEMA_VERSION, Base, CycleRow, ExperimentRow, MetaRow, TestLookRow
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.schema import Split, Task

_BUSY_S = 60
_SET_UP_LOCK = 0x6172_636C
"""Any number that nobody else locks in the same PostgreSQL database."""
_KEPT = frozenset({"experiment_id", "cycle_id", "created_at"})
"""What a second writing of the same experiment leaves as the first one wrote it."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class LedgerExperiment(_Entry):
    """An experiment as the ledger knows it."""

    experiment_id: str = Field(min_length=1)
    cycle_id: str | None = Field(default=None, description="The cycle that asked for it first; none where run by hand.")
    task: Task
    dataset: str
    prepared_key: str
    spec: dict[str, Any] = Field(description="The whole `ExperimentSpec`, enough to run it again.")
    model: str
    seed: int
    status: Standing
    reason: str = Field(default="", description="Why it failed, was cancelled or refused.")
    novelty: Novelty | None = None
    proposal_reason: str = Field(default="", description="Why it was proposed, in a sentence for people.")
    val_metrics: dict[str, Any] = Field(default_factory=dict)
    test_metrics: dict[str, Any] = Field(default_factory=dict)
    primary_score: float | None = Field(default=None, description="Validation AUC or mean Dice; none where undefined.")
    duration_s: float | None = None
    created_at: datetime

    @field_validator("primary_score")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None


class LedgerCycle(_Entry):
    """A research cycle as the ledger knows it."""

    cycle_id: str = Field(min_length=1)
    status: CycleStatus
    reason: str = ""
    config_sha256: str
    started_at: datetime
    ended_at: datetime | None = None


class TestLook(_Entry):
    """One look of one experiment at a sealed split."""

    __test__ = False  # not for pytest

    experiment_id: str
    split: Split
    reason: str
    at: datetime


class Ledger:
    """The ledger behind a database URL; makes its tables where they are not there yet.

    Args:
        url: `workspace.ledger_url`, or any SQLite or PostgreSQL URL that SQLAlchemy knows.

    Raises:
        SettingsError: The URL names no database that the ledger can use.
        IntegrityError: The file is no ledger, or one of another version.
        TransientError: The database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        with _database_errors(self._engine), _setup_lock(self._engine):
            self._set_up()

    def _set_up(self) -> None:
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            else:  # two that make the same table at once would both find it missing; held until the commit
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SET_UP_LOCK})")
            for table in Base.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
            connection.execute(
                self._insert(MetaRow).values(name="schema", value=SCHEMA_VERSION).on_conflict_do_nothing()
            )
            connection.commit()
            found = connection.scalar(select(MetaRow.value).where(MetaRow.name == "schema"))
        if found != SCHEMA_VERSION:
            raise IntegrityError(
                f"The ledger at {self._engine.url.render_as_string()} has tables of version {found}",
                expected=f"version {SCHEMA_VERSION}",
                consequence="Nothing was read or written",
                remedy="use the version of ARC that wrote it, or name another ledger",
            )

    # --- cycles

    def start_cycle(self, cycle_id: str, config: Mapping[str, Any], *, at: datetime) -> LedgerCycle:
        """Writes that a cycle runs; one that is there already runs on, with its first time of start."""
        row = LedgerCycle(
            cycle_id=cycle_id, status=CycleStatus.RUNNING, config_sha256=config_sha256(config), started_at=at
        )
        self._upsert(CycleRow, row.model_dump(), kept={"cycle_id", "config_sha256", "started_at"})
        return self.cycle(cycle_id)

    def end_cycle(self, cycle_id: str, status: CycleStatus, *, at: datetime, reason: str = "") -> LedgerCycle:
        """Writes how a cycle ended."""
        with self._session() as session:
            values = {"status": status.value, "ended_at": at, "reason": reason}
            session.execute(update(CycleRow).where(CycleRow.cycle_id == cycle_id).values(values))
        return self.cycle(cycle_id)

    def cycle(self, cycle_id: str) -> LedgerCycle:
        """The cycle of that id; `NotFoundError` where there is none."""
        with self._session() as session:
            row = session.get(CycleRow, cycle_id)
            if row is None:
                raise _not_found("cycle", cycle_id, [c.cycle_id for c in session.scalars(select(CycleRow))])
            return LedgerCycle.model_validate(row)

    def cycles(self, status: CycleStatus | None = None) -> list[LedgerCycle]:
        """All cycles, oldest first."""
        query = select(CycleRow).order_by(CycleRow.started_at, CycleRow.cycle_id)
        if status is not None:
            query = query.where(CycleRow.status == status.value)
        with self._session() as session:
            return [LedgerCycle.model_validate(row) for row in session.scalars(query)]

    def unfinished_cycle(self, config: Mapping[str, Any]) -> LedgerCycle | None:
        """The newest cycle of the same configuration that has not completed: the one to take up again."""
        wanted = config_sha256(config)
        open_ones = [c for c in self.cycles() if c.config_sha256 == wanted and c.status is not CycleStatus.COMPLETED]
        return open_ones[-1] if open_ones else None

    # --- experiments

    def put(self, experiment: LedgerExperiment) -> None:
        """Writes an experiment, new or again; id, first cycle and time of creation stay as they were first written.

        Raises:
            NotFoundError: Its cycle was never started.
        """
        try:
            self._upsert(ExperimentRow, _row(experiment), kept=_KEPT)
        except RowError as error:
            known = [cycle.cycle_id for cycle in self.cycles()]
            raise _not_found("cycle", str(experiment.cycle_id), known) from error

    def change(self, experiment_id: str, **changes: Any) -> LedgerExperiment:
        """Changes fields of an experiment that is there, checked as when it was made; gives it back as it is now."""
        before = self.experiment(experiment_id).model_dump()
        after = LedgerExperiment.model_validate({**before, **changes})
        values = {name: value for name, value in _row(after).items() if name in changes and name not in _KEPT}
        if values:
            with self._session() as session:  # only these columns: another process may be changing the others
                session.execute(
                    update(ExperimentRow).where(ExperimentRow.experiment_id == experiment_id).values(values)
                )
        return after

    def experiment(self, experiment_id: str) -> LedgerExperiment:
        """The experiment of that id; `NotFoundError` where there is none."""
        with self._session() as session:
            row = session.get(ExperimentRow, experiment_id)
            if row is None:
                known = session.scalars(select(ExperimentRow.experiment_id).order_by(ExperimentRow.created_at.desc()))
                raise _not_found("experiment", experiment_id, list(known))
            return LedgerExperiment.model_validate(row)

    def experiments(
        self,
        *,
        task: Task | None = None,
        dataset: str | None = None,
        prepared_key: str | None = None,
        cycle_id: str | None = None,
        status: Standing | None = None,
    ) -> list[LedgerExperiment]:
        """The experiments that match all that is given, oldest first."""
        wanted = {
            "task": task,
            "dataset": dataset,
            "prepared_key": prepared_key,
            "cycle_id": cycle_id,
            "status": status,
        }
        query = select(ExperimentRow).order_by(ExperimentRow.created_at, ExperimentRow.experiment_id)
        query = query.filter_by(**{name: str(value) for name, value in wanted.items() if value is not None})
        with self._session() as session:
            return [LedgerExperiment.model_validate(row) for row in session.scalars(query)]

    def best(
        self, *, task: Task, prepared_key: str, at_hand: Callable[[str], bool] = lambda _: True
    ) -> LedgerExperiment | None:
        """The completed experiment with the highest validation score; the earliest of equals; wildcats do not count.

        Args:
            at_hand: Called with an experiment's id; False leaves it out, as the ledger keeps rows whose files are gone.
        """
        done = self.experiments(task=task, prepared_key=prepared_key, status=Standing.COMPLETED)
        scored = [e for e in done if e.primary_score is not None and e.novelty is not Novelty.WILDCAT]
        scored = [e for e in scored if at_hand(e.experiment_id)]
        return max(scored, key=lambda e: e.primary_score or 0.0, default=None)

    # --- looks at the test split

    def record_look(self, experiment_id: str, *, reason: str, at: datetime, split: Split = Split.TEST) -> bool:
        """Writes a look at a sealed split; one look an experiment, split and reason. True where it is a new one."""
        self.experiment(experiment_id)
        values = TestLook(experiment_id=experiment_id, split=split, reason=reason, at=at).model_dump()
        with self._session() as session:
            added = session.execute(
                self._insert(TestLookRow).values(values).on_conflict_do_nothing().returning(TestLookRow.look_id)
            )
            return added.first() is not None

    def looks(self, experiment_id: str | None = None) -> list[TestLook]:
        """All looks at sealed splits, oldest first."""
        query = select(TestLookRow).order_by(TestLookRow.at, TestLookRow.look_id)
        if experiment_id is not None:
            query = query.where(TestLookRow.experiment_id == experiment_id)
        with self._session() as session:
            return [
                TestLook.model_validate(
                    {"experiment_id": r.experiment_id, "split": r.split, "reason": r.reason, "at": r.at}
                )
                for r in session.scalars(query)
            ]

    # --- inside

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        with _database_errors(self._engine), Session(self._engine) as session, session.begin():
            yield session

    def _upsert(self, row: type[Base], values: Mapping[str, Any], kept: set[str] | frozenset[str]) -> None:
        statement = self._insert(row).values(dict(values))
        table = cast(Table, row.__table__)
        changed = {name: statement.excluded[name] for name in values if name not in kept}
        with self._session() as session:
            session.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed))


def _row(experiment: LedgerExperiment) -> dict[str, Any]:
    """The columns of an experiment; what JSON cannot hold is made plain here, NaN becomes null when it is written."""
    values = experiment.model_dump()
    for name in ("spec", "val_metrics", "test_metrics"):
        values[name] = to_jsonable_python(values[name], inf_nan_mode="constants")
    return values


def config_sha256(config: Mapping[str, Any]) -> str:
    """What makes two configurations the same one."""
    return digest(to_jsonable_python(dict(config)))


def _engine(url: str) -> Engine:
    try:
        place = make_url(url)
        name = place.get_backend_name()
    except (ArgumentError, ValueError):  # not "from error": it would quote the URL, password and all
        raise SettingsError(
            "The ledger's URL is no database URL", expected="sqlite:///file or postgresql://user:password@host/database"
        ) from None
    if name not in ("sqlite", "postgresql"):
        raise SettingsError(f"The ledger cannot be kept in {name}", expected="a sqlite or postgresql URL")

    def as_json(value: Any) -> str:
        return to_json(value, inf_nan_mode="null").decode()

    if name == "postgresql":
        return _postgres(place, as_json)
    # A connection for each use: nothing is open across a fork or left open when the process ends.
    engine = create_engine(url, json_serializer=as_json, poolclass=NullPool, connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def _check_references(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def _postgres(place: URL, as_json: Callable[[Any], str]) -> Engine:
    """By psycopg 3, unless the URL names another driver; a connection for each use, as ledgers are opened often."""
    if place.drivername == "postgresql":
        place = place.set(drivername="postgresql+psycopg")
    try:
        return create_engine(place, json_serializer=as_json, poolclass=NullPool)
    except ImportError as error:
        raise SettingsError(
            f"The ledger is to be kept in PostgreSQL, and its driver is not installed ({error})",
            remedy="install the extra postgres: pip install 'arc-glaucoma[postgres]'",
        ) from error


def _setup_lock(engine: Engine) -> contextlib.AbstractContextManager[None]:
    """Two processes that make the same file at once would find it locked: SQLite does not wait there."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path == ":memory:":
        return contextlib.nullcontext()
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    return exclusive(file.with_name(f".{file.name}.lock"))


@contextlib.contextmanager
def _database_errors(engine: Engine) -> Iterator[None]:
    """Says in ARC's words what the database says in its own."""
    try:
        yield
    except RowError:
        raise
    except DatabaseError as error:
        where = engine.url.render_as_string()
        if "not a database" in str(error) or "malformed" in str(error):
            raise IntegrityError(
                f"The ledger {where} is damaged or no ledger ({error.orig})",
                consequence="Nothing was written",
                remedy="put back a copy of it, or move it away: a new one is made",
            ) from error
        raise TransientError(
            f"The ledger {where} did not answer ({error.orig})", remedy="see that it is reachable"
        ) from error
    except SQLAlchemyError as error:
        raise IntegrityError(f"The ledger could not be used: {error}") from error


def _not_found(what: str, wanted: str, known: list[str]) -> NotFoundError:
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    return NotFoundError(f"The ledger has no {what} {wanted!r}", expected=f"one of: {shown or 'none yet'}")
