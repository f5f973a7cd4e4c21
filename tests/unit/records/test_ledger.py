# ruff: noqa: E501  (example data reads best a line each)

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from glaucoma.errors import IntegrityError, NotFoundError, SettingsError, TransientError
from glaucoma.records.ledger import Ledger, LedgerExperiment
from glaucoma.records.words import CycleStatus, Novelty, Standing
from glaucoma.schema import Split, Task

Make = Callable[..., LedgerExperiment]
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def test_an_experiment_comes_back_as_it_was_put(ledger: Ledger, experiment: Make) -> None:
    one = experiment(
        1, novelty="explore", proposal_reason="because", val_metrics={"auc": {"value": 0.9}}, primary_score=0.9
    )
    ledger.put(one)
    assert ledger.experiment(one.experiment_id) == one


@pytest.mark.parametrize(
    "url",
    ["postgresql://arc:hidden@127.0.0.1:9/arc", "mysql://arc:hidden@host/arc", "postgres//arc:hidden@host/arc",
     "postgresql://arc:hidden@host:port/arc"],
)  # fmt: skip
def test_no_error_of_a_ledger_shows_its_password(url: str) -> None:
    with pytest.raises((SettingsError, TransientError)) as raised:
        Ledger(url)
    seen = [
        raised.value,
        raised.value.__cause__,
        None if raised.value.__suppress_context__ else raised.value.__context__,
    ]
    assert "hidden" not in "".join(map(repr, seen))


def test_putting_twice_is_putting_once(ledger: Ledger, experiment: Make) -> None:
    ledger.put(experiment(1))
    ledger.put(experiment(1))
    assert len(ledger.experiments()) == 1


def test_a_later_cycle_does_not_take_an_experiment_from_the_first_one(ledger: Ledger, experiment: Make) -> None:
    for name in ("first", "second"):
        ledger.start_cycle(name, {"cycle": name}, at=NOW)
    ledger.put(experiment(1, cycle_id="first"))
    ledger.put(experiment(1, cycle_id="second", status="running", created_at=NOW + timedelta(days=1)))
    there = ledger.experiment(experiment(1).experiment_id)
    assert (there.cycle_id, there.status, there.created_at) == ("first", Standing.RUNNING, experiment(1).created_at)


def test_change_checks_and_touches_only_the_named_fields(ledger: Ledger, experiment: Make) -> None:
    ledger.put(experiment(1, proposal_reason="why"))
    after = ledger.change(experiment(1).experiment_id, status="completed", primary_score=0.8, duration_s=3.5)
    assert after == ledger.experiment(after.experiment_id)
    assert (after.status, after.primary_score, after.proposal_reason) == (Standing.COMPLETED, 0.8, "why")
    with pytest.raises(ValueError, match="status"):
        ledger.change(after.experiment_id, status="splendid")
    with pytest.raises(ValueError, match="extra"):
        ledger.change(after.experiment_id, mood="good")


def test_an_undefined_number_is_null_and_never_zero(ledger: Ledger, experiment: Make, tmp_path: Path) -> None:
    ledger.put(experiment(1, primary_score=math.nan, val_metrics={"auc": {"value": math.nan, "reason": "one class"}}))
    there = ledger.experiments()[0]
    assert there.primary_score is None
    assert there.val_metrics == {"auc": {"value": None, "reason": "one class"}}
    rows = sqlite3.connect(tmp_path / "ledger.db")
    try:
        assert "NaN" not in rows.execute("select val_metrics from experiments").fetchone()[0]
    finally:
        rows.close()


def test_experiments_come_oldest_first_and_by_what_is_asked(ledger: Ledger, experiment: Make) -> None:
    for number in (3, 1, 2):
        ledger.put(experiment(number, task="segmentation" if number == 2 else "classification"))
    assert [e.seed for e in ledger.experiments()] == [1, 2, 3]
    assert [e.seed for e in ledger.experiments(task=Task.CLASSIFICATION)] == [1, 3]
    assert ledger.experiments(prepared_key="another") == []
    assert ledger.experiments(status=Standing.COMPLETED) == []


def test_the_best_is_completed_defined_and_no_wildcat(ledger: Ledger, experiment: Make) -> None:
    key = "p" * 16
    assert ledger.best(task=Task.CLASSIFICATION, prepared_key=key) is None
    ledger.put(experiment(1, status="failed", primary_score=0.99))
    ledger.put(experiment(2, status="completed", primary_score=math.nan))
    ledger.put(experiment(3, status="completed", primary_score=0.95, novelty=Novelty.WILDCAT))
    ledger.put(experiment(4, status="completed", primary_score=0.9))
    ledger.put(experiment(5, status="completed", primary_score=0.9))
    best = ledger.best(task=Task.CLASSIFICATION, prepared_key=key)
    assert best is not None
    assert best.seed == 4


def test_a_look_at_the_test_split_is_counted_once_for_each_reason(ledger: Ledger, experiment: Make) -> None:
    ledger.put(experiment(1))
    name = experiment(1).experiment_id
    assert ledger.record_look(name, reason="promotion", at=NOW)
    assert not ledger.record_look(name, reason="promotion", at=NOW + timedelta(days=1))
    assert ledger.record_look(name, reason="release", at=NOW)
    assert [(look.split, look.reason) for look in ledger.looks(name)] == [
        (Split.TEST, "promotion"),
        (Split.TEST, "release"),
    ]
    with pytest.raises(NotFoundError, match="no experiment"):
        ledger.record_look("nobody", reason="promotion", at=NOW)


def test_a_cycle_that_was_cut_off_is_found_again_by_its_configuration(ledger: Ledger) -> None:
    config = {"dataset": "eyes", "preset": "smoke"}
    ledger.start_cycle("c1", config, at=NOW)
    assert ledger.unfinished_cycle(dict(reversed(config.items()))) == ledger.cycle("c1")
    assert ledger.unfinished_cycle({**config, "preset": "base"}) is None
    again = ledger.start_cycle("c1", config, at=NOW + timedelta(hours=1))
    assert again.started_at == NOW
    ended = ledger.end_cycle("c1", CycleStatus.COMPLETED, at=NOW + timedelta(hours=2))
    assert (ended.status, ended.ended_at) == (CycleStatus.COMPLETED, NOW + timedelta(hours=2))
    assert ledger.unfinished_cycle(config) is None


def test_what_is_not_there_is_named_with_what_is(ledger: Ledger, experiment: Make) -> None:
    ledger.put(experiment(1))
    with pytest.raises(NotFoundError, match="cls-lcnet_050-00000001"):
        ledger.experiment("nobody")
    with pytest.raises(NotFoundError, match="none yet"):
        ledger.end_cycle("nothing", CycleStatus.FAILED, at=NOW)
    with pytest.raises(NotFoundError, match="no cycle 'never-started'"):
        ledger.put(experiment(2, cycle_id="never-started"))
    assert len(ledger.experiments()) == 1


def test_a_moment_keeps_its_instant_and_must_have_a_zone(ledger: Ledger, experiment: Make) -> None:
    there = datetime(2026, 1, 5, 20, 0, tzinfo=timezone(timedelta(hours=11)))
    ledger.put(experiment(1, created_at=there))
    assert ledger.experiments()[0].created_at == there
    with pytest.raises(IntegrityError, match="no time zone"):
        ledger.put(experiment(2, created_at=datetime(2026, 1, 5)))


def test_a_second_opening_keeps_what_is_there(url: str, ledger: Ledger, experiment: Make) -> None:
    ledger.put(experiment(1))
    assert Ledger(url).experiments() == ledger.experiments()


def test_hostile_words_are_only_words(ledger: Ledger, experiment: Make) -> None:
    words = "'); DROP TABLE experiments; --"
    ledger.put(experiment(1, dataset=words, proposal_reason=words))
    assert ledger.experiments(dataset=words)[0].proposal_reason == words


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, it is a letter" * 200)
    with pytest.raises(IntegrityError, match="damaged or no ledger"):
        Ledger(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"this is not")


def test_a_ledger_of_another_version_is_refused(url: str, ledger: Ledger, tmp_path: Path) -> None:
    rows = sqlite3.connect(tmp_path / "ledger.db")
    rows.execute("update ledger_meta set value = 99")
    rows.commit()
    rows.close()
    with pytest.raises(IntegrityError, match="version 99"):
        Ledger(url)


@pytest.mark.parametrize("url", ["mysql://somewhere/db", "nonsense"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Ledger(url)


def test_a_database_that_cannot_be_reached_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(TransientError, match="did not answer"):
        Ledger(f"sqlite:///{tmp_path / 'folder.db'}")


_WRITER = """
import sys
from datetime import UTC, datetime
from glaucoma.records.ledger import Ledger, LedgerExperiment
url, who = sys.argv[1:]
ledger = Ledger(url)
for number in range(15):
    ledger.put(LedgerExperiment(experiment_id=f"{who}-{number}", task="classification", dataset="eyes", prepared_key="p",
        spec={}, model="m", seed=number, status="running", created_at=datetime.now(UTC)))
    ledger.change(f"{who}-{number}", status="completed", primary_score=0.5)
"""


def test_three_processes_write_at_once_and_nothing_is_lost(url: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, url, who], stderr=subprocess.PIPE) for who in "abc"]
    for writer in writers:
        assert writer.communicate()[1] == b""
        assert writer.returncode == 0
    done = Ledger(url).experiments(status=Standing.COMPLETED)
    assert len(done) == 45
    assert json.dumps(done[0].spec) == "{}"
