"""`python -m tests.chaos`: trainings killed, stopped, damaged, starved at random moments; each must end undisturbed.

What must hold at the end of each: it is completed, or has failed with a reason; no process and no half-written file is
left; the weights are, bit for bit, those of a run that nobody disturbed. A seed names a campaign, but the moments
depend also on how fast the machine is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.campaign import Tally, attack_training
from tests.chaos.deployed import attack_installation
from tests.chaos.places import PLACES
from tests.chaos.subjects import Subject, subjects


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 where all held, 1 otherwise."""
    given = _parse(arguments)
    base = Path(tempfile.mkdtemp(prefix="arc-chaos-"))
    began = time.monotonic()
    them, expected, took_s = subjects(given.epochs), {}, []
    for number, one in enumerate(them):
        at = time.monotonic()
        expected[one.name] = one.run_undisturbed(base / f"reference-{number}")
        took_s.append(time.monotonic() - at)
    them = [one.on_a_busy_machine(max(took_s)) for one in them]
    print(f"{len(them)} undisturbed trainings in {sum(took_s):.0f} s", flush=True)
    tally = Tally()
    try:
        _campaign(them, expected, base, given.attacks, given.lanes, given.seed, tally)
        if given.places:
            for number, place in enumerate(PLACES):
                try:
                    wrong = place(them[0], expected[them[0].name], base / f"place-{number}")
                except AssertionError as error:
                    wrong = [str(error)]
                tally.violations += [f"{place.__name__}: {one}" for one in wrong]
                print(f"{place.__name__}: {'; '.join(wrong) or 'held'}", flush=True)
        if given.deployed:
            attack_installation(base / "deployed", random.Random(given.seed), given.deployed, tally)
    finally:  # what was seen before somebody stops it counts too
        _say(tally, time.monotonic() - began)
    if tally.violations:
        print(f"what is left lies in {base}")
    else:
        shutil.rmtree(base)
    return 1 if tally.violations else 0


def _campaign(
    them: list[Subject], expected: dict[str, str], base: Path, wanted: int, lanes: int, seed: int, tally: Tally
) -> None:
    """Attacks in so many lanes until enough has happened."""

    def lane(number: int) -> None:
        rng, turn = random.Random(f"{seed}-{number}"), number
        while sum(tally.attacks.values()) < wanted and len(tally.violations) < 10:
            subject = them[turn % len(them)]
            root = base / f"lane-{number}-{turn}"
            try:
                attack_training(subject, expected[subject.name], root, rng, rng.randint(4, 10), tally)
            except AssertionError as error:
                tally.violations.append(f"{subject.name} in {root}: {error}")
            turn += 1
            print(f"{sum(tally.attacks.values())} of {wanted} attacks, {len(tally.violations)} violations", flush=True)

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    for violation in tally.violations:
        print(f"  {violation}", flush=True)


def _say(tally: Tally, took_s: float) -> None:
    print(f"{sum(tally.attacks.values())} attacks on {tally.trainings} trainings in {took_s:.0f} s")
    for name, count in sorted(tally.attacks.items()):
        print(f"  {name}: {count}")
    print("attempts ended with " + ", ".join(f"{name} {count}" for name, count in sorted(tally.outcomes.items())))
    print(f"{len(tally.violations)} violations")
    for violation in tally.violations:
        print(f"  {violation}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--attacks", type=int, default=160, help="on the training and the process that watches it")
    parser.add_argument("--deployed", type=int, default=45, help="kills of flow runs, workers and servers of Prefect")
    parser.add_argument("--no-places", dest="places", action="store_false", help="without full disks and the like")
    parser.add_argument("--epochs", type=int, default=150, help="of each training")
    parser.add_argument("--lanes", type=int, default=2, help="trainings at once")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other attacks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
