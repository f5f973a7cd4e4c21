"""`python -m tests.fuzz`: hostile archives and images by the thousand; each must end in an output or in a clear error.

A case is named by its kind, the seed and a number: `--case archives:123` runs one again and keeps its input.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.cases import KINDS, run_case
from tests.fuzz.supervise import supervise


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 where every case ended as it should, 1 otherwise."""
    given = _parse(arguments)
    if given.case:
        return _one(given.case, given.seed)
    failures = []
    for kind in KINDS:
        cases, began, shown = getattr(given, kind), time.monotonic(), 0.0

        def report(done: int, kind: str = kind, cases: int = cases) -> None:
            nonlocal shown
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                print(f"{kind}: {done} of {cases}", flush=True)

        outcome = supervise(kind, given.seed, cases, workers=given.workers, case_s=given.case_seconds, report=report)
        took = time.monotonic() - began
        print(
            f"{kind}: {outcome.done} cases of seed {given.seed} in {took:.0f} s: {outcome.taken} taken, "
            f"{outcome.done - outcome.taken - len(outcome.failures)} refused, {len(outcome.failures)} failed",
            flush=True,
        )
        failures += outcome.failures
    for failure in failures:
        print(f"\n--case {failure['kind']}:{failure['number']} --seed {given.seed}: {failure['error']}")
        print(failure["where"])
    return 1 if failures else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--archives", type=int, default=50_000, help="how many archives")
    parser.add_argument("--images", type=int, default=50_000, help="how many images")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other inputs")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--case-seconds", type=float, default=20.0, help="most seconds that one case may take")
    parser.add_argument("--case", metavar="KIND:NUMBER", help="run this case alone and keep its input")
    return parser.parse_args(arguments)


def _one(case: str, seed: int) -> int:
    kind, number = case.split(":")
    folder = Path(tempfile.mkdtemp(prefix=f"arc-fuzz-{kind}-{number}-"))
    try:
        taken = run_case(kind, seed, int(number), folder)
    except Exception:
        print(f"the input is kept in {folder}")
        raise
    print("taken" if taken else "refused")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
