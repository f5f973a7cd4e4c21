"""Checkpoints that survive a crash at any instant: written aside, synced, renamed, and checked before use.

`checkpoints.sha256` lists the hash and size of each checkpoint that is whole, and the line is on the disk before the
file takes its name. What is not listed is damaged or foreign. What is refused is set aside, and the one before is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from glaucoma.errors import IntegrityError, problems, shown_bytes
from glaucoma.provenance import file_sha256, sync_folder, write_bytes
from glaucoma.training.checkpoint_fit import require_same_optimizer, require_same_tensors
from glaucoma.training.checkpoint_format import Identity, listed, made_otherwise, read_payload, write_payload

__all__ = ["BEST", "LAST", "PREVIOUS", "Checkpoints", "Identity", "require_same_optimizer", "require_same_tensors"]

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_LIST = "checkpoints.sha256"
_LIST_LIMIT_BYTES = 1_000_000
_LINE = re.compile(r"([0-9a-f]{64})  (\d{1,15})  ([a-z.]+)")
_KEPT_ASIDE = 3


@dataclass(frozen=True)
class _Known:
    """A file that this process wrote or hashed; while its inode, size and time stay, so does its hash."""

    signature: tuple[int, int, int]
    sha256: str


class Checkpoints:
    """The checkpoints of one experiment: the last two states, and the best model. One process writes them.

    Args:
        computed: What of an attempt's settings the weights depend on, by name; a state computed otherwise is noted.
    """

    def __init__(self, folder: Path, computed: Mapping[str, str] | None = None) -> None:
        self.folder, self._computed = folder, dict(computed or {})
        self.saving_s = 0.0
        """Time spent on saving, in all."""
        self._opened_at = time.monotonic()
        self._costs_s: dict[str, float] = {}
        self._known: dict[str, _Known] = {}

    def save_last(self, payload: dict[str, Any]) -> str:
        """Writes `payload` as the last checkpoint and keeps the one before; returns its SHA-256.

        Args:
            payload: `state` (with `epoch` and `best_epoch`), `model`, `optimizer`, `identity` (an `Identity`), and what
                else resuming needs; numbers, text, tensors, and containers of them.

        Raises:
            OSError: The disk does not take it; those before are still there and nothing is left half-written.
            TypeError: Something in it could not be loaded again.
        """
        return self._save(payload, LAST)

    def save_best(self, payload: dict[str, Any]) -> str:
        """Writes `payload` in place of the best checkpoint; returns its SHA-256. As `save_last`."""
        return self._save(payload, BEST)

    def load_last(
        self,
        note: Callable[[str], None],
        identity: Identity | None = None,
        accept: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any] | None:
        """The newest state that can be gone on from, or None: then there is none, and the run begins anew.

        What is refused is renamed to `*.damaged-<n>` and its reason told to `note`: damaged, truncated, of another
        experiment, other data or other settings, hostile, or refused by `accept`. A state whose best model is gone is
        passed over, for its best could not be given back; that takes longer and ends the same.

        Args:
            identity: Whose state it must be.
            accept: Loads it; raises `IntegrityError` where it does not fit, before it has changed anything
                (`require_same_tensors`).
        """
        self._clear(note)
        found = [name for name in (LAST, PREVIOUS) if (self.folder / name).is_file()]
        for name in found:
            try:
                payload = self._read(name, identity)
            except IntegrityError as error:
                self._set_aside(name, str(error), note)
                continue
            if not self._has_its_best(payload, identity, note):
                note(f"{name} names a best model that is damaged, missing or of another course: it is passed over")
                continue
            try:
                if accept is not None:
                    accept(payload)
            except IntegrityError as error:
                self._set_aside(name, f"{name} is refused: {error}", note)
                continue
            if otherwise := made_otherwise(payload, self._computed):
                note(f"{name} was made otherwise ({otherwise}): the weights may differ, if only in their last bits")
            return payload
        if found:
            note("no state is left to go on from: training begins anew")
        return None

    def load_best(self, device: str = "cpu") -> dict[str, Any]:
        """The best checkpoint's payload; `IntegrityError` where it is missing, or is not what was written."""
        if not (self.folder / BEST).is_file():
            raise IntegrityError(f"{self.folder / BEST} is missing", remedy=_REMEDY)
        try:
            return self._read(BEST, None, device)
        except IntegrityError as error:
            raise IntegrityError(f"{self.folder}: {error.found}", remedy=_REMEDY) from error

    def affordable(self, share: float = 0.02) -> bool:
        """True where saving once more, as slowly as last, keeps all saving within `share` of the time since the start.

        For ends of short epochs: what a later save makes good need not be saved at each. Before the first save: True.
        """
        next_s = sum(self._costs_s.values())
        return not next_s or self.saving_s + next_s <= share * (time.monotonic() - self._opened_at)

    def sha256(self, name: str) -> str:
        """Hash of the file's bytes."""
        return file_sha256(self.folder / name)

    def intact(self, name: str) -> bool:
        """True where the file is there and its hash is in the list."""
        return self._hash_on_disk(name) in {sha256 for sha256, _ in self._listed()}

    def _save(self, payload: dict[str, Any], name: str) -> str:
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        temporary = self.folder / f".{name}.partial-{os.getpid()}"
        try:
            with temporary.open("wb") as handle:
                sha256 = write_payload({**payload, "computed": self._computed}, handle)
                handle.flush()
                os.fsync(handle.fileno())
            self._write_list(name, sha256, temporary.stat().st_size)
            if name == LAST and self.intact(LAST):
                path.replace(self.folder / PREVIOUS)
                self._known[PREVIOUS] = self._known.pop(LAST)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self.folder)
        self._known[name] = _Known(_signature(path.lstat()), sha256)
        self._costs_s[name] = time.monotonic() - began
        self.saving_s += self._costs_s[name]
        return sha256

    def _write_list(self, name: str, sha256: str, size_bytes: int) -> None:
        """Puts the new hash beside those of the files that are there; older lines go."""
        before = self._listed()
        lines = []
        for there in (PREVIOUS, LAST, BEST):
            found = self._hash_on_disk(there)
            lines += [f"{one}  {size}  {there}\n" for one, size in sorted(before) if one == found]
        lines.append(f"{sha256}  {size_bytes}  {name}\n")
        write_bytes(self.folder / _LIST, "".join(lines).encode("ascii"))

    def _listed(self) -> set[tuple[str, int]]:
        """Hash and size of each checkpoint that was finished; lines that are no such thing say nothing."""
        try:
            with _opened(self.folder / _LIST) as (handle, size_bytes):
                text = handle.read(_LIST_LIMIT_BYTES) if size_bytes <= _LIST_LIMIT_BYTES else b""
        except (FileNotFoundError, IntegrityError):
            return set()
        found = [_LINE.fullmatch(line) for line in text.decode("ascii", errors="replace").splitlines()]
        return {(match[1], int(match[2])) for match in found if match}

    def _hash_on_disk(self, name: str) -> str | None:
        """Of the file of that name, read only where this process does not know it yet; None where there is none."""
        path = self.folder / name
        try:
            with _opened(path) as (handle, _):
                signature = _signature(os.fstat(handle.fileno()))
                known = self._known.get(name)
                if known is None or known.signature != signature:
                    known = _Known(signature, hashlib.file_digest(handle, "sha256").hexdigest())
        except (FileNotFoundError, IntegrityError):
            return None
        self._known[name] = known
        return known.sha256

    def _read(self, name: str, identity: Identity | None, device: str = "cpu") -> dict[str, Any]:
        """The payload of an intact file of the right identity; else `IntegrityError` with the reason."""
        recorded = self._listed()
        with _opened(self.folder / name) as (handle, size_bytes):
            if size_bytes not in {size for _, size in recorded}:  # before a single byte of it is read
                raise IntegrityError(
                    f"{name} differs from its recorded hash: it has {shown_bytes(size_bytes)}, as no whole checkpoint"
                )
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            if (sha256, size_bytes) not in recorded:
                raise IntegrityError(f"{name} differs from its recorded hash")
            payload = read_payload(handle, name, size_bytes, device)
            self._known[name] = _Known(_signature(os.fstat(handle.fileno())), sha256)
        differences = [] if identity is None else identity.differences(payload.get("identity"))
        if differences:
            raise IntegrityError(f"{name} is of another experiment, other data or settings ({listed(differences)})")
        return payload

    def _has_its_best(self, payload: dict[str, Any], identity: Identity | None, note: Callable[[str], None]) -> bool:
        """True where the state has no best model yet, or the one that is there is its own or of a later epoch.

        A later one was saved after the state, on the way that is now gone again, step by step.
        """
        epoch, wanted = payload["state"]["epoch"], payload["state"]["best_epoch"]
        if not wanted:
            return True
        if not (self.folder / BEST).is_file():
            return False
        try:
            found = int(self._read(BEST, identity)["state"]["best_epoch"])
        except IntegrityError as error:
            self._set_aside(BEST, str(error), note)
            return False
        return found == wanted or found > int(epoch)

    def _clear(self, note: Callable[[str], None]) -> None:
        """Removes what a killed process left half-written, and sets aside what is no plain file."""
        for leftover in self.folder.glob(".*.partial-*"):
            _remove(leftover)
        for name in (LAST, PREVIOUS, BEST, _LIST):
            path = self.folder / name
            try:
                with _opened(path) as (_, size_bytes):
                    if name == _LIST and size_bytes > _LIST_LIMIT_BYTES:
                        raise IntegrityError(f"{name} has {shown_bytes(size_bytes)}, which no list has")  # noqa: TRY301
            except FileNotFoundError:
                continue
            except IntegrityError as error:
                self._set_aside(name, error.found, note)

    def _set_aside(self, name: str, reason: str, note: Callable[[str], None]) -> None:
        """Renames it to `<name>.damaged-<n>` and keeps the newest few of those."""
        numbers = sorted(
            int(match[1])
            for path in self.folder.glob(f"{name}.damaged-*")
            if (match := re.fullmatch(rf"{re.escape(name)}\.damaged-(\d{{1,9}})", path.name))
        )
        number = numbers[-1] + 1 if numbers else 1
        aside = self.folder / f"{name}.damaged-{number}"
        (self.folder / name).rename(aside)
        self._known.pop(name, None)
        for old in numbers[: max(0, len(numbers) + 1 - _KEPT_ASIDE)]:
            _remove(self.folder / f"{name}.damaged-{old}")
        note(f"{reason.rstrip('.')}: set aside as {aside.name}")


_REMEDY = "train the experiment again: it resumes or begins anew"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """The file, open for reading, and its size; `IntegrityError` for a link, a folder, a device, or no permission."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise IntegrityError(f"{path.name} is no plain file but {_file_kind(status.st_mode)}")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IntegrityError(f"{path.name} cannot be opened ({problems(error)})") from error
    with open(descriptor, "rb") as handle:  # noqa: PTH123  (a descriptor)
        yield handle, os.fstat(descriptor).st_size


def _file_kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
