"""Where things lie: every path of a workspace comes from here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from glaucoma.errors import NotFoundError, SettingsError

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""A dataset's name: it becomes a folder, so it is short, lower-case and plain."""


def checked_name(name: str) -> str:
    """`name`, if it can safely be a folder's name; `SettingsError` otherwise."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise SettingsError(
            f"The name {name!r} cannot name a dataset",
            expected="1 to 63 lower-case letters, digits, '-' or '_', beginning with a letter or digit",
        )
    return name


@dataclass(frozen=True)
class Workspace:
    """A folder that holds all that ARC makes; nothing outside it is written."""

    root: Path

    @classmethod
    def at(cls, path: Path | str | None = None) -> Workspace:
        """The workspace at `path`, else at `ARC_WORKSPACE`, else `./workspace`. Creates the folder."""
        root = Path(path or os.environ.get("ARC_WORKSPACE") or "workspace").expanduser().resolve()
        if root.exists() and not root.is_dir():
            raise SettingsError(
                f"The workspace {root} is a file", expected="a folder, or a path that does not exist yet"
            )
        root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @property
    def archives(self) -> Path:
        return self.root / "archives"

    @property
    def experiments(self) -> Path:
        return self.root / "experiments"

    @property
    def cycles(self) -> Path:
        return self.root / "cycles"

    @property
    def research(self) -> Path:
        """Continuous research: a folder each."""
        return self.root / "research"

    @property
    def locks(self) -> Path:
        return self.root / ".locks"

    @property
    def ledger_url(self) -> str:
        """`ARC_LEDGER_URL`, which may hold a password: it is for the ledger and is shown nowhere; else a file here."""
        return os.environ.get("ARC_LEDGER_URL") or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def registry(self) -> Path:
        return self.root / "data_registry.yaml"

    @property
    def weights(self) -> Path:
        """Where pretrained weights are looked for: `<model>.safetensors` or `.pth`."""
        return self.root / "weights"

    @property
    def tracking(self) -> Path:
        """What is kept of runs for W&B (`wandb/`) and MLflow (`mlflow.db`, `mlflow-artifacts/`)."""
        return self.root / "tracking"

    @property
    def machine(self) -> Path:
        """What is known of the machines that work here: `<host>/`, with readings and drained GPUs."""
        return self.root / "machine"

    @property
    def archived(self) -> Path:
        """What was packed away: `experiments/<id>.tar.zst`, `cycles/<id>.tar.zst`."""
        return self.root / "archived"

    @property
    def snapshots(self) -> Path:
        """Copies of the books as they were: `<id>/snapshot.json`, their bytes in `objects/`."""
        return self.root / "snapshots"

    @property
    def rollback_note(self) -> Path:
        """Stands while the books are being put back, and where that was cut off."""
        return self.snapshots / "rollback.json"

    def datasets(self, name: str) -> Path:
        return self.root / "datasets" / checked_name(name)

    def validations(self, name: str) -> Path:
        return self.root / "validations" / checked_name(name)

    def judgements(self, name: str) -> Path:
        """What people said of pairs of photographs in datasets of that name."""
        return self.root / "judgements" / f"{checked_name(name)}.yaml"

    def drifts(self, name: str) -> Path:
        return self.root / "drifts" / checked_name(name)

    def prepared(self, name: str) -> Path:
        return self.root / "prepared" / checked_name(name)

    def find(self, parent: Path, key: str | None, what: str) -> Path:
        """The finished folder `parent/key`; without a key the newest one. `NotFoundError` lists what is there.

        The newest is the one that a stage last made or found again, so taking in an older archive again makes its
        outputs the newest.
        """
        there = sorted(
            (p for p in parent.glob("*") if p.is_dir() and not p.name.startswith(".")),
            key=lambda p: (p.stat().st_mtime_ns, p.name),
        )
        if key is None and there:
            return there[-1]
        for folder in there:
            if folder.name == key:
                return folder
        names = ", ".join(p.name for p in there) or "none"
        raise NotFoundError(
            f"No {what} {key or ''} in {parent}".replace("  ", " "),
            expected=f"one of: {names}",
            remedy=f"run the stage that makes the {what} first, or check the name and --workspace",
        )
