"""`python -m benchmarks`: measures and prints one table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Comparison, Result, Skipped, compare
from benchmarks.place import Place
from glaucoma.datasets.imagefile import available_cores

_LIBRARIES = ("numpy", "opencv-python-headless", "torch", "monai", "scikit-learn", "prefect")
_FEWEST_IMAGES = 24
"""Fewer cannot be split by patient with both classes in each part."""
BENCHMARKS = {
    "unpack": "unpacking:benchmark",
    "normalize": "reading:normalise",
    "look-alikes": "lookalikes:benchmark",
    "validate": "reading:validate",
    "preprocess": "preparing:benchmark",
    "training": "training:benchmark",
    "training-start": "training_start:benchmark",
    "checkpoint": "training_saving:benchmark",
    "feed": "training_feed:benchmark",
    "training-gpu": "training_gpu:benchmark",
    "metrics": "metrics:benchmark",
    "grad-cam": "maps:benchmark",
    "bootstrap": "intervals:benchmark",
    "prefect": "orchestration:benchmark",
    "prefect-cycle": "prefect_cycle:benchmark",
    "prefect-server": "prefect_server:benchmark",
    "prefect-start": "prefect_start:benchmark",
}
"""Name to module and function; each is imported when its turn comes."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks that are named, all where none is; 1 where one of them failed.

    Each ratio is told on stderr when it is measured, so that a run that is cut off has not measured for nothing.
    """
    given = _parse(arguments)
    _one_thread()
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: list[Result] = []
    skipped: list[Skipped] = []
    failed: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="arc-benchmarks-") as folder:
        place = Place(Path(folder), given.images, clock=time.process_time if given.processor else time.perf_counter)
        for name in given.names or BENCHMARKS:
            try:
                with console.status(name):
                    for one in _benchmark(name)(place):
                        if isinstance(one, Skipped):
                            skipped.append(one)
                        else:
                            measured = compare(one)
                            results.extend(measured)
                            _tell(measured)
            except Exception:  # noqa: BLE001  the others are measured all the same, and the exit code says it
                traceback.print_exc()
                failed.append(name)
    console.print(_table(results))
    for left_out in skipped:
        console.print(f"skipped: {left_out.stage} {left_out.reason}")
    took = time.monotonic() - began
    console.print(f"{len(results)} ratios in {took:.0f} s; below 1 the measured one is faster")
    if given.json:
        content = {**_facts(given.images, took), "results": [asdict(one) for one in results]}
        content["skipped"] = [asdict(one) for one in skipped]
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if failed:
        console.print(f"failed: {', '.join(failed)}; see above")
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(BENCHMARKS)}; all where none is named")
    parser.add_argument("--images", type=int, default=_FEWEST_IMAGES, help="photographs of the generated data")
    parser.add_argument(
        "--processor",
        action="store_true",
        help="training steps in the processor's time, for a machine that other work shares",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if given.images < _FEWEST_IMAGES:
        parser.error(f"--images {given.images}: at least {_FEWEST_IMAGES}, or they cannot be split by patient")
    return given


def _one_thread() -> None:
    """One thread for each library, so that no candidate is faster only because it takes more cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _benchmark(name: str) -> Callable[[Place], Iterator[Comparison | Skipped]]:
    module, function = BENCHMARKS[name].split(":")
    found: Callable[[Place], Iterator[Comparison | Skipped]] = getattr(
        importlib.import_module(f"benchmarks.{module}"), function
    )
    return found


def _tell(measured: list[Result]) -> None:
    for one in measured:
        times = f"{_amount(one.measured_s, one.unit)} against {_amount(one.against_s, one.unit)}"
        sys.stderr.write(f"{one.stage}, {one.n}: {one.measured} / {one.against}: {one.ratio:.3g} ({times})\n")
    sys.stderr.flush()


def _table(results: list[Result]) -> Table:
    table = Table(title="ours over the other: ratio of medians (quartiles of the rounds' ratios)")
    for heading in ("stage", "measured", "against"):
        table.add_column(heading, overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("n / rounds", overflow="fold")
    for one in results:
        table.add_row(
            one.stage,
            f"{one.measured}: {_amount(one.measured_s, one.unit)}",
            f"{one.against}: {_amount(one.against_s, one.unit)}",
            f"{one.ratio:.3g} ({one.ratio_low:.3g} to {one.ratio_high:.3g})",
            f"{one.n} / {one.rounds}",
        )
    return table


def _amount(value: float, unit: str) -> str:
    return _duration(value) if unit == "s" else f"{value:.3g} {unit}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _facts(images: int, took_s: float) -> dict[str, Any]:
    """What a ratio may depend on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_s": round(took_s, 1),
        "images": images,
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


if __name__ == "__main__":
    sys.exit(main())
