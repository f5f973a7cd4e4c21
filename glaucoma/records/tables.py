"""The ledger's tables as SQLAlchemy classes; `ledger.py` is the only reader and writer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 1
"""Raised with every change of a column; a ledger of another version is refused, not guessed at."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its time zone, kept as UTC in databases that know no time zones too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The ledger's tables."""


class MetaRow(Base):
    """One row: the version of the tables."""

    __tablename__ = "ledger_meta"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(Integer)


class CycleRow(Base):
    """A research cycle."""

    __tablename__ = "cycles"
    __table_args__ = (Index("cycles_by_config", "config_sha256", "status"),)

    cycle_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String, default="")
    config_sha256: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime())
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime(), nullable=True)


class ExperimentRow(Base):
    """An experiment: what was asked, why, and what came of it."""

    __tablename__ = "experiments"
    __table_args__ = (Index("experiments_by_question", "prepared_key", "task"),)

    experiment_id: Mapped[str] = mapped_column(String(120), primary_key=True)
    cycle_id: Mapped[str | None] = mapped_column(ForeignKey("cycles.cycle_id"), nullable=True, index=True)
    task: Mapped[str] = mapped_column(String(20))
    dataset: Mapped[str] = mapped_column(String(64))
    prepared_key: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    model: Mapped[str] = mapped_column(String(120))
    seed: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String, default="")
    novelty: Mapped[str | None] = mapped_column(String(20), nullable=True)
    proposal_reason: Mapped[str] = mapped_column(String, default="")
    val_metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    test_metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    primary_score: Mapped[float | None] = mapped_column(Float, nullable=True)
    duration_s: Mapped[float | None] = mapped_column(Float, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())


class TestLookRow(Base):
    """One look at a sealed split."""

    __tablename__ = "test_looks"
    __table_args__ = (UniqueConstraint("experiment_id", "split", "reason"),)

    look_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.experiment_id"))
    split: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String)
    at: Mapped[datetime] = mapped_column(UtcDateTime())
