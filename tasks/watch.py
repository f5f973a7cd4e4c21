"""Watching a machine: its figures are read and kept, changes are told, and the last hours are shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from prefect.artifacts import Artifact, TableArtifact, create_image_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_HOME

from tasks.stage import artifact_key, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.machine.conditions import Change
    from glaucoma.machine.readings import Reading
    from glaucoma.machine.settings import WatchSettings
    from glaucoma.machine.xid import XidLog
    from glaucoma.workspace import Workspace

_FIRST_LOOK_BACK = timedelta(hours=1)
"""How far back the kernel's log is read at the first time."""


def watched_folders(workspace: Workspace) -> dict[str, Path]:
    """The folders whose disks are watched."""
    from glaucoma.machine.readings import HOME, WORKSPACE

    return {WORKSPACE: workspace.root, HOME: Path(PREFECT_HOME.value())}


@stage_task(run_name="read the machine", timeout_s=7200, retries=0)
def take_readings(workspace: Workspace, settings: WatchSettings) -> Any:
    """Reads and keeps the machine's figures a few times; gives the readings, and what the kernel's log says."""
    from glaucoma.machine.conditions import XID_SEEN
    from glaucoma.machine.host import read_machine
    from glaucoma.machine.store import opened_store, store_path
    from glaucoma.machine.xid import read_xids

    store, damage = opened_store(store_path(workspace))
    if damage:
        get_run_logger().warning("%s", damage)
    readings: list[Reading] = []
    began = time.monotonic()
    for number in range(settings.take.samples):
        time.sleep(max(0.0, began + number * settings.take.interval_s - time.monotonic()))
        readings.append(read_machine(watched_folders(workspace), datetime.now(UTC)))
        store.put(readings[-1:])
    store.thin(settings.keep, datetime.now(UTC))
    last = readings[-1]
    seen_s = store.states().get(XID_SEEN)
    known = last.at - _FIRST_LOOK_BACK if seen_s is None else datetime.fromtimestamp(seen_s, UTC)
    log = read_xids(min(known, last.at - timedelta(seconds=settings.hangs.hang_after_s)))
    get_run_logger().info("%d readings of %s: %d GPUs", len(readings), last.host, len(last.gpus))
    if last.no_gpus:
        get_run_logger().info("No GPU on %s: %s", last.host, last.no_gpus)
    if not log.source:
        get_run_logger().info("Xids cannot be read here: %s", "; ".join(log.problems))
    return readings, log


@stage_task(run_name="judge the machine", timeout_s=600, first_delay_s=5)
def judge_machine(workspace: Workspace, readings: list[Reading], log: XidLog, settings: WatchSettings) -> Any:
    """What changed since the last time, and what is to be kept in mind of it once all is done."""
    from glaucoma.machine.conditions import judge, out_of_reach
    from glaucoma.machine.hangs import hangs, judge_hangs, stalls
    from glaucoma.machine.readings import GpuReading
    from glaucoma.machine.store import Store, store_path
    from glaucoma.training.gpu_work import work_on

    store = Store(store_path(workspace))
    states: dict[str, float] = store.states()
    changes: list[Change] = []
    for reading in readings:
        states, found = judge(reading, log.xids, states, settings.thresholds)
        changes += found
    last, after_s = readings[-1], settings.hangs.hang_after_s
    pci = {gpu.gpu: gpu.pci for gpu in last.gpus}
    lost = out_of_reach(readings, states)
    gone = [GpuReading(gpu=gpu) for gpu in lost if gpu not in pci]  # their workers' word counts
    since = last.at - timedelta(seconds=after_s)
    reasons: dict[int, str] = {}
    for work in work_on((*last.gpus, *gone), workspace):
        rows = store.gpu_rows(work.gpu, since)
        why = hangs(work, rows, log.xids, pci.get(work.gpu), last.at, after_s)
        if not why and work.gpu in lost:
            why = stalls(work, last.at, after_s)
        reasons[work.gpu] = reasons.get(work.gpu) or (f"{work.experiment}: {why}" if why else "")
    states, found = judge_hangs(reasons, states)
    return states, [*changes, *found]


@stage_task(run_name="tell what changed", timeout_s=600, first_delay_s=5)
def tell_changes(changes: list[Change], host: str) -> None:
    """Raises an event for each change."""
    for change in changes:
        get_run_logger().warning("%s", change.message)
        whose = host if change.gpu is None else f"GPU {change.gpu} of {host}"
        gpu = {} if change.gpu is None else {"gpu": change.gpu}
        emit_event(
            change.event,
            resource={"prefect.resource.id": change.resource(host), "prefect.resource.name": whose},
            payload={"message": change.message, "host": host, **gpu, **change.figures},
        )


@stage_task(run_name="keep in mind what was told", timeout_s=600, first_delay_s=5)
def remember_told(workspace: Workspace, states: dict[str, float]) -> None:
    """After all that follows from it was done: what is cut off before is told again."""
    from glaucoma.machine.store import Store, store_path

    Store(store_path(workspace)).put_states(states)


@stage_task(run_name="show the machine", timeout_s=600, retries=0)
def show_machine(workspace: Workspace, reading: Reading, log: XidLog, settings: WatchSettings) -> int:
    """Shows the figures as a table, and now and then the last hours as a picture; gives the store's size in bytes."""
    from glaucoma.machine.store import Store, store_path
    from glaucoma.machine.table import machine_rows

    path = store_path(workspace)
    store = Store(path)
    xids = f"; Xids from {log.source}" if log.source else "; Xids cannot be read here"
    gpus = f"; no GPU: {reading.no_gpus}" if reading.no_gpus else f"; driver {reading.driver}{xids}"
    description = f"**{reading.host}** at {reading.at:%Y-%m-%d %H:%M:%S} UTC{gpus}"
    rows = machine_rows(reading)
    with shown_if_possible():
        key = artifact_key("machine", reading.host)
        table = cast(str, TableArtifact(table=rows).format())
        if not _replaced(key, table, description):
            create_table_artifact(table=rows, key=key, description=description)
        _show_plot(store, reading, settings)
    return path.stat().st_size


def _show_plot(store: Any, reading: Reading, settings: WatchSettings) -> None:
    from glaucoma.machine.plot import machine_png
    from glaucoma.reporting.curves import png_uri

    drawn, now = "plot drawn", reading.at.timestamp()
    states = store.states()
    key = artifact_key("machine-plot", reading.host)
    if now - states.get(drawn, 0.0) < settings.plot.every_s and _latest(key) is not None:
        return
    since = reading.at - timedelta(hours=settings.plot.hours)
    gpus = {gpu: store.gpu_rows(gpu, since) for gpu in store.gpus(since)}
    uri = png_uri(machine_png(reading.host, gpus, store.host_rows(since)))
    description = f"**{reading.host}**: the last {settings.plot.hours:g} hours until {reading.at:%Y-%m-%d %H:%M} UTC"
    with shown_if_possible():
        if not _replaced(key, uri, description):
            create_image_artifact(image_url=uri, key=key, description=description)
    store.put_states({**states, drawn: now})


def _replaced(key: str, data: str, description: str) -> bool:
    """Puts new content into the artifact of that key; False where there is none yet.

    A new artifact each time would add one to the database every two minutes. And Prefect's own call for a change emits
    an event that holds the whole content, and is kept for days: so the server is asked directly.
    """
    found = _latest(key)
    if found is None:
        return False
    with get_client(sync_client=True) as client:
        content = {"data": data, "description": description}
        client.request("PATCH", "/artifacts/{id}", path_params={"id": found}, json=content)
    return True


def _latest(key: str) -> UUID | None:
    found = Artifact.get(key)
    return found.id if found is not None else None  # type: ignore[union-attr]  # a coroutine only where the caller is one
