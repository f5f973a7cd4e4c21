"""Checks of this machine: Python, packages, GPUs, disks, weights, and what it must reach for datasets and runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deployments.checks.finding import Finding, fault, ok, warning
from glaucoma.errors import ArcError, shown_bytes
from glaucoma.workspace import Workspace

OLDEST_PYTHON = (3, 11)
KNOWN_BAD = {
    "prefect": ("!=3.8.*", "only 3.8 was tried with the bounds below"),
    "fastapi": (">=0.151.dev0", "Prefect's server does not start with it"),
    "sqlalchemy": (">=2.1.dev0", "Prefect's scheduler starts no run with it, and says nothing"),
}
"""Versions that were seen to break something, and what."""
_CLEAR_UP = "python -m flows.housekeeping says what may go"
_SHOWN = 4
_ROOMY = 4
"""Free space below this many times what is needed is a warning."""
_WEIGHTS = ("*.safetensors", "*.pth", "*.pt")


def check_python(found: Sequence[int] = tuple(sys.version_info[:3])) -> Finding:
    """The interpreter."""
    shown = ".".join(map(str, found[:3]))
    if tuple(found[:2]) < OLDEST_PYTHON:
        return fault("python", shown, "make setup PYTHON=python3.12: 3.11 or later is needed")
    return ok("python", shown)


def installed_version(package: str) -> str | None:
    """The version of an installed package; None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_known_bad(installed: Callable[[str], str | None] = installed_version) -> Finding:
    """Packages in versions that are known to break something."""
    bad = []
    for package, (versions, why) in KNOWN_BAD.items():
        found = installed(package)
        if found is None or SpecifierSet(versions).contains(found, prereleases=True):
            bad.append(f"{package} {found or 'is missing'}: {why}")
    if bad:
        return fault("packages", "; ".join(bad), "make setup: it installs the locked versions")
    return ok("packages", ", ".join(f"{package} {installed(package)}" for package in KNOWN_BAD))


def check_lock(lock: Path, installed: Callable[[str], str | None] = installed_version) -> Finding:
    """The installed packages against the locked ones."""
    wanted = [
        Requirement(line.rstrip(" \\"))
        for line in lock.read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum() and "==" in line
    ]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    other = []
    for one in here:
        found = installed(one.name)
        if found is None or not one.specifier.contains(found, prereleases=True):
            other.append(f"{one.name} {found or 'missing'} ({one.specifier})")
    if other:
        more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        return warning("lock", f"not as locked: {', '.join(other[:_SHOWN])}{more}", "make setup")
    return ok("lock", f"{len(here)} packages as locked")


def check_gpus(wanted: Sequence[int], nvml: Any = None) -> Finding:
    """The driver and its GPUs, against those that the policy names.

    Args:
        nvml: What answers as the module `pynvml`; that module where none is given.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if shutil.which("nvidia-smi"):
            return fault("gpus", f"nvidia-smi is here, and the driver does not answer: {error}", "restart the machine")
        return ok("gpus", "no NVIDIA driver: everything runs on the CPU")
    try:
        number, driver = nvml.nvmlDeviceGetCount(), nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError as error:
        return fault("gpus", f"the driver gives an error: {error}", "look at dmesg for Xid, restart the machine")
    finally:
        nvml.nvmlShutdown()
    found = f"{number} GPUs, driver {driver}"
    if missing := [str(gpu) for gpu in wanted if gpu >= number]:
        return warning(
            "gpus", f"{found}; the policy names GPU {', '.join(missing)} too", "correct the policy (ARC_GPU_POLICY)"
        )
    return ok("gpus", found)


def check_disk(name: str, folder: Path, needed_bytes: float, remedy: str = _CLEAR_UP) -> Finding:
    """The free space where `folder` is, or will be, against what is needed at least."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    found = f"{shown_bytes(free)} free at {folder}"
    if not os.access(there, os.W_OK):
        return fault(name, f"{there} cannot be written to", "give its user the right, or name another place")
    if free < needed_bytes:
        return fault(name, f"{found}, less than {shown_bytes(needed_bytes)}", remedy)
    if free < _ROOMY * needed_bytes:
        return warning(name, f"{found}, less than {shown_bytes(_ROOMY * needed_bytes)}", remedy)
    return ok(name, found)


def check_weights(workspace: Workspace) -> Finding:
    """Pretrained weights, which nothing downloads."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub")
    own = [path.name for pattern in _WEIGHTS for path in workspace.weights.glob(pattern)]
    cached = [path.name for path in hub.expanduser().glob("models--*")]
    if not own and not cached:
        return warning(
            "weights",
            f"none in {workspace.weights}, none in {hub}",
            "the presets base and large need them: docs/how-to/use-pretrained-weights.md, or --no-train.pretrained",
        )
    return ok("weights", f"{len(own)} in {workspace.weights}, {len(cached)} in {hub}")


def check_remotes(workspace: Workspace, remote_in_block: Callable[[str], Any], blocks: Sequence[str] = ()) -> Finding:
    """Every place where registered versions are kept, or may be: that it is there, and answers.

    Args:
        remote_in_block: Gives the remote, with its keys, of a block's name.
        blocks: Names of blocks of remotes. Of a folder that no version lies in yet, the one above it must be there.
    """
    from glaucoma.datasets.registry import read_registry, stored_at
    from glaucoma.datasets.remote_objects import reach

    entries = [entry for versions in read_registry(workspace).values() for entry in versions]
    faults, places = [], set()
    for entry in entries:
        place = entry.remote or "DVC's cache"
        if place in places:
            continue
        places.add(place)
        try:
            remote = remote_in_block(entry.remote_block) if entry.remote_block else stored_at(entry, workspace)
            if not remote.is_s3 and not Path(remote.url).is_dir():
                faults.append(f"{remote} is not there")
            reach(remote)
        except ArcError as error:
            faults.append(str(error))
    for block in blocks:
        try:
            remote = remote_in_block(block)
            if remote.url in places:
                continue
            if "://" not in remote.url and not Path(remote.url).parent.is_dir():
                faults.append(f"the folder for {remote} (block {block}) is not there")
            reach(remote)
        except ArcError as error:
            faults.append(f"block {block}: {error}")
    if faults:
        return fault(
            "datasets", "; ".join(faults), "mount or start it: python -m flows.check_dataset says what is lost"
        )
    if alone := sum(entry.remote is None for entry in entries):
        return warning("datasets", f"{alone} of {len(entries)} versions have no copy", "register them with a remote")
    return ok(
        "datasets", f"{len(entries)} registered versions" + (f" at {', '.join(sorted(places))}" if places else "")
    )


def check_accounts(account_in_block: Callable[[str], Any], blocks: Sequence[str]) -> Finding:
    """The accounts by which runs go to W&B: that their servers answer. Whether one takes the key is not asked.

    Args:
        account_in_block: Gives the account of a block's name.
        blocks: Names of blocks of accounts.
    """
    from glaucoma.training.tracking.wandb_sync import require_reachable

    if not blocks:
        return ok("tracking", "no account of W&B: runs are tracked offline and locally")
    wrong = []
    for block in blocks:
        try:
            require_reachable(account_in_block(block))
        except ArcError as error:
            wrong.append(f"block {block}: {error.found}")
    if wrong:
        remedy = "correct base_url there; runs are kept here meanwhile, and sync-tracking sends them later"
        return warning("tracking", "; ".join(wrong), remedy)
    return ok("tracking", f"the servers of {', '.join(blocks)} answer")
