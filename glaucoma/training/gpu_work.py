"""What works on each GPU of this machine: the flow run, the experiment that it trains, and when that last moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from glaucoma.machine.hangs import Work
from glaucoma.machine.processes import HELD, VISIBLE, RunProcess, gpus_of, run_processes
from glaucoma.machine.readings import GpuReading
from glaucoma.training.processes import MARK
from glaucoma.training.progress_log import LONGEST_LINE_BYTES, read_progress_end
from glaucoma.workspace import Workspace


def work_on(gpus: Sequence[GpuReading], workspace: Workspace) -> list[Work]:
    """What works on these GPUs, by GPU; runs that hold none are left out."""
    return work_of(run_processes((HELD, VISIBLE, MARK)), gpus, workspace)


def work_of(processes: Iterable[RunProcess], gpus: Sequence[GpuReading], workspace: Workspace) -> list[Work]:
    """The same for processes that were found already."""
    held: dict[tuple[int, str], list[RunProcess]] = {}
    for process in processes:
        for gpu in gpus_of(process, gpus):
            held.setdefault((gpu, process.run_id), []).append(process)
    return [_work(gpu, run_id, held[gpu, run_id], workspace) for gpu, run_id in sorted(held)]


def _work(gpu: int, run_id: str, processes: Sequence[RunProcess], workspace: Workspace) -> Work:
    marked = [process for process in processes if MARK in process.environment]
    folder = _folder(marked[0].environment[MARK], workspace) if marked else None
    moved = None
    if folder is not None:
        began = max(process.began_at for process in marked)
        wrote = last_progress(folder / "logs" / "progress.jsonl")
        moved = began if wrote is None else max(began, wrote)
    return Work(
        gpu=gpu,
        run_id=run_id,
        experiment=None if folder is None else folder.name,
        pids=tuple(sorted(process.pid for process in processes)),
        moved_at=moved,
    )


def _folder(mark: str, workspace: Workspace) -> Path | None:
    """The experiment's folder by its mark (`device:number:path`); None where it lies in another workspace."""
    path = Path(mark.split(":", 2)[-1])
    return path if path.parent == workspace.experiments and path.is_dir() else None


def last_progress(path: Path) -> datetime | None:
    """When the last line of progress was written; None where there is none.

    By the line itself, written on this machine; where none of the last lines can be read, by the file's time.
    """
    try:
        lines = read_progress_end(path, LONGEST_LINE_BYTES)
        return lines[-1].time if lines else datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
