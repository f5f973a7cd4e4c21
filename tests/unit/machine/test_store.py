"""The store of readings: made-up test data, real files, a real kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta

import pytest

from glaucoma.machine.settings import KeepSettings
from glaucoma.machine.store import Store, only_watch, opened_store, store_path


@pytest.fixture
def store(workspace):
    return Store(store_path(workspace))


def test_what_was_put_comes_back_in_order_and_the_unknown_stays_unknown(store, made_up):
    store.put([made_up(1, temperature_c=None), made_up(0)])
    begun = made_up(0).at
    assert [row.figures["temperature_c"] for row in store.gpu_rows(0, begun)] == [50.0, None]
    assert [row.figures["workspace_free_gb"] for row in store.host_rows(begun)] == [500.0, 500.0]
    assert [row.figures["home_free_gb"] for row in store.host_rows(begun)] == [None, None]
    assert store.gpus(begun) == [0]
    assert store.gpu_rows(1, begun) == []


def test_old_readings_become_means_of_their_span_and_then_nothing(store, made_up):
    minutes = [0, 1, 2, 10, 60 * 50]
    readings = [made_up(m, temperature_c=40.0 + m % 10, ecc_uncorrected=m) for m in minutes]
    store.put(readings)
    keep = KeepSettings(full_hours=1, mean_minutes=10, keep_days=30)
    begun, end = readings[0].at, readings[-1].at
    for _ in range(2):  # again changes nothing
        store.thin(keep, end)
        rows = store.gpu_rows(0, begun)
        assert [(row.span_s, row.figures["temperature_c"]) for row in rows] == [(600, 41.0), (600, 40.0), (0, 40.0)]
        assert [row.figures["ecc_uncorrected"] for row in rows] == [2, 10, 3000], "counters keep their highest"
        assert len(store.host_rows(begun)) == 3
    store.thin(keep, end + timedelta(days=29))
    assert [row.span_s for row in store.gpu_rows(0, begun)] == [600]


def test_states_are_replaced_as_a_whole(store):
    store.put_states({"gpu0.hot": 1.0, "disk.low": 0.0})
    store.put_states({"gpu0.hot": 0.0})
    assert store.states() == {"gpu0.hot": 0.0}


def test_two_writers_at_once_lose_nothing(workspace, made_up):
    def write(offset):
        mine = Store(store_path(workspace))
        for n in range(30):
            mine.put([made_up(offset + 2 * n)])

    threads = [threading.Thread(target=write, args=(offset,)) for offset in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Store(store_path(workspace)).gpu_rows(0, made_up(0).at)) == 60


def test_a_kill_in_the_middle_of_a_transaction_leaves_the_one_before(store, workspace, made_up):
    store.put([made_up(0)])
    script = textwrap.dedent("""
        import os, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("PRAGMA cache_size = 1")  # so that changed pages reach the file before the end
        db.execute("BEGIN IMMEDIATE")
        for n in range(3000):
            db.execute("INSERT INTO state VALUES (?, 1)", (f"torn {n}",))
        os.kill(os.getpid(), 9)
    """)
    path = store_path(workspace)
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.with_name("readings.db-journal").exists(), "it was killed in the middle"
    after, said = opened_store(path)
    assert said == ""
    assert after.states() == {}
    assert len(after.gpu_rows(0, made_up(0).at)) == 1


def test_a_file_that_is_no_store_any_more_is_set_aside(workspace, made_up):
    path = store_path(workspace)
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(5000))
    store, said = opened_store(path)
    store.put([made_up(0)])
    assert "set aside as readings.db.damaged" in said
    assert path.with_name("readings.db.damaged").stat().st_size == 5000


def test_one_alone_watches_a_machine(workspace):
    with only_watch(workspace) as first, only_watch(workspace) as second:
        assert first
        assert not second
    with only_watch(workspace) as again:
        assert again
