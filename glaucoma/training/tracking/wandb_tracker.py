"""A run in Weights & Biases: offline as files in the workspace, or sent at once with an account."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from glaucoma.errors import TransientError
from glaucoma.training.experiment import Status
from glaucoma.training.tracking.points import Logged, Point
from glaucoma.training.tracking.run import DatasetReference, TrackedRun
from glaucoma.training.tracking.settings import WandbMode
from glaucoma.training.tracking.wandb_files import history, pieces, wandb_root

_FLUSH_EVERY_S = 1.0
_INIT_TIMEOUT_S = 60.0


class WandbStore:
    """The run of an experiment in W&B. Its id is the experiment's, so that each attempt goes on in it."""

    def __init__(self, run: TrackedRun) -> None:
        self._of = run
        self._run: Any = None

    def open(self) -> Logged:
        """Begins the run or goes on in it; says what its pieces on this disk, or the server, hold.

        Raises:
            TransientError: wandb cannot write into the workspace; it would take a temporary folder instead.
        """
        import wandb

        logged = _logged(self._of)
        root = wandb_root(self._of.workspace)
        root.mkdir(parents=True, exist_ok=True)
        spec = self._of.spec
        self._run = wandb.init(
            config=self._of.config,
            group=spec.dataset,
            job_type=str(spec.task),
            tags=[spec.model[:64]],
            settings=self._settings(),
        )
        if not os.path.realpath(self._run.dir).startswith(os.path.realpath(root)):
            raise TransientError(f"W&B wrote to {self._run.dir}", expected=f"a folder in {root}")
        if self._of.settings.mode is WandbMode.ONLINE and self._run.resumed:
            logged = Logged(max(logged.step, self._run.step - 1), max(logged.validated_step, self._run.step - 1))
        return logged

    def log(self, points: Sequence[Point]) -> None:
        """Adds a row a step. What an epoch's end adds to a step that was its last goes into the same row."""
        for point in points:
            self._run.log({**point.values, "_timestamp": point.time.timestamp()}, step=point.step)

    def end(self) -> None:
        """Adds summary and artifacts, and waits until all of it lies on the disk (online: is sent)."""
        run, of = self._run, self._of
        for name, value in of.summary().items():
            run.summary[name] = value
        checkpoint, dataset = of.checkpoint(), of.dataset()
        if dataset is not None:
            run.log_artifact(self._dataset(dataset))
        if checkpoint is not None:
            run.log_artifact(self._model(checkpoint))
        self._run = None
        run.finish(exit_code=0 if of.status == Status.COMPLETED.value else 1)

    def close(self) -> None:
        """Ends wandb's part of this process, where it is not ended already."""
        run, self._run = self._run, None
        if run is not None:
            with contextlib.suppress(Exception):  # it failed already, and has been told
                run.finish(exit_code=1)

    def _settings(self) -> Any:
        import wandb

        of = self._of
        given: dict[str, Any] = {}
        if of.account is not None:
            given = {"api_key": of.account.api_key, "base_url": of.account.base_url, "entity": of.account.entity}
        return wandb.Settings(
            mode=of.settings.mode.value,
            root_dir=str(wandb_root(of.workspace)),
            project=of.settings.project,
            run_id=of.run_id,
            run_name=of.run_id,
            resume="allow",
            console="off",  # the training has its own log
            silent=True,
            symlink=False,  # `latest-run` would be of whichever training began last
            save_code=False,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            init_timeout=_INIT_TIMEOUT_S,
            x_disable_stats=True,  # of this process, which is not the training
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=_FLUSH_EVERY_S,
            **given,
        )

    def _dataset(self, dataset: DatasetReference) -> Any:
        import wandb

        facts = {"dataset": dataset.name, "prepared_key": dataset.key, "manifest_sha256": dataset.manifest_sha256}
        artifact = wandb.Artifact(f"dataset-{dataset.name}", "dataset", metadata=facts)
        for path in dataset.files:
            artifact.add_file(str(path), skip_cache=True)
        if self._of.settings.log_photographs:
            for folder in dataset.pictures:
                artifact.add_dir(str(folder), name=folder.name, skip_cache=True)
        return artifact

    def _model(self, checkpoint: Any) -> Any:
        import wandb

        artifact = wandb.Artifact(f"model-{self._of.run_id}", "model", metadata=self._of.summary())
        artifact.add_file(str(checkpoint), skip_cache=True)
        return artifact


def _logged(run: TrackedRun) -> Logged:
    """How far the pieces on this disk go."""
    step = validated = -1
    for piece in pieces(run.workspace, run.run_id):
        for row in history(piece):
            step = max(step, row["_step"])
            if any(name.startswith("val/") for name in row):
                validated = max(validated, row["_step"])
    return Logged(step, validated)
