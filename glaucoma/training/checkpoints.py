"""Checkpoints that survive a crash at any instant: written aside, synced, renamed, and checked by hash before use.

`checkpoints.sha256` lists the hash of every checkpoint ever finished here, one line each, and the line is on the disk
before the file takes its name. A file with another hash is damaged: it is set aside, and the one before is used.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glaucoma.errors import IntegrityError
from glaucoma.provenance import file_sha256, sync_folder, write_bytes

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
_LIST = "checkpoints.sha256"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one experiment: the last two states, and the best model."""

    folder: Path

    def save_last(self, payload: dict[str, Any]) -> str:
        """Writes `payload` as the last checkpoint and keeps the one before; returns its SHA-256."""
        last = self.folder / LAST
        content, sha256 = self._sealed(payload, LAST)
        if last.is_file() and self.intact(LAST):
            last.replace(self.folder / PREVIOUS)
        write_bytes(last, content)
        return sha256

    def save_best(self, payload: dict[str, Any]) -> str:
        """Writes `payload` in place of the best checkpoint; returns its SHA-256."""
        content, sha256 = self._sealed(payload, BEST)
        write_bytes(self.folder / BEST, content)
        return sha256

    def load_last(self, note: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest intact state, or None. Damaged files are renamed to `*.damaged-<n>` and told to `note`.

        Where the best model is damaged or gone though a state says that there was one, there is nothing to resume: the
        run begins anew, which takes longer and ends the same.

        """
        for leftover in self.folder.glob(".*.partial-*"):  # of a process that was killed while it wrote
            leftover.unlink()
        for name in (LAST, PREVIOUS):
            path = self.folder / name
            if not path.is_file():
                continue
            payload = self._read_or_set_aside(name, note)
            if payload is None:
                continue
            if payload["state"]["best_epoch"] and not self._best_is_there(note):
                note(f"{BEST} is damaged or missing: training begins anew")
                return None
            return payload
        return None

    def load_best(self, device: str = "cpu") -> dict[str, Any]:
        """The best checkpoint's payload; `IntegrityError` where it is missing, or is not what was written."""
        path = self.folder / BEST
        if not path.is_file() or not self.intact(BEST):
            state = "differs from its recorded hash" if path.is_file() else "is missing"
            raise IntegrityError(f"{path} {state}", remedy="train the experiment again: it resumes or begins anew")
        return _load(path, device)

    def sha256(self, name: str) -> str:
        """Hash of the file's bytes."""
        return file_sha256(self.folder / name)

    def intact(self, name: str) -> bool:
        """True where the file is there and its hash is in the list."""
        path = self.folder / name
        return path.is_file() and file_sha256(path) in self._listed()

    def _best_is_there(self, note: Callable[[str], None]) -> bool:
        return (self.folder / BEST).is_file() and self._read_or_set_aside(BEST, note) is not None

    def _read_or_set_aside(self, name: str, note: Callable[[str], None]) -> dict[str, Any] | None:
        path = self.folder / name
        if self.intact(name):
            try:
                return _load(path, "cpu")
            except IntegrityError as error:
                reason = str(error)
        else:
            reason = f"{name} differs from its recorded hash"
        number = 1
        while (aside := self.folder / f"{name}.damaged-{number}").exists():
            number += 1
        path.rename(aside)
        note(f"{reason}: set aside as {aside.name}")
        return None

    def _sealed(self, payload: dict[str, Any], name: str) -> tuple[bytes, str]:
        """The bytes of `payload`, their hash already in the list."""
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **payload}, buffer)
        content = buffer.getvalue()
        sha256 = hashlib.sha256(content).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LIST).open("a", encoding="ascii") as handle:
            handle.write(f"{sha256}  {name}\n")
            handle.flush()
            os.fsync(handle.fileno())
        sync_folder(self.folder)
        return content, sha256

    def _listed(self) -> set[str]:
        path = self.folder / _LIST
        if not path.is_file():
            return set()
        return {
            line.split()[0] for line in path.read_text(encoding="ascii", errors="replace").splitlines() if line.split()
        }


def _load(path: Path, device: str) -> dict[str, Any]:
    try:
        payload: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise IntegrityError(f"{path.name} cannot be read ({' '.join(str(error).split())[:200]})") from error
    if payload.get("format") != FORMAT:
        raise IntegrityError(f"{path.name} has format {payload.get('format')}", expected=f"format {FORMAT}")
    return payload
