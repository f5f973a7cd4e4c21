"""What lies in another machine's workspace: brought here by key from the remote that both share, and sent there.

For workers that share no disk. `ARC_REMOTE_BLOCK`, in a worker's environment, names the block of that remote; without
it only what this workspace has registered itself is looked for, and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from prefect.logging import get_run_logger

from blocks.dvc_remote import remote_in_block
from glaucoma.datasets.fetching import registered_prepared
from glaucoma.errors import NotFoundError
from glaucoma.planning.batch import is_done
from glaucoma.records.ledger import Ledger
from glaucoma.records.words import Standing
from glaucoma.training.experiment import Experiment, Status, is_there, open_experiment
from glaucoma.workspace import Workspace
from tasks import elsewhere as stage

REMOTE_BLOCK = "ARC_REMOTE_BLOCK"


def bring_prepared(workspace: Workspace, name: str, key: str) -> None:
    """Fetches a prepared dataset that is not in the workspace; does nothing where no remote could have it.

    Raises:
        NotFoundError: The remote does not know it.
        IntegrityError, TransientError, SettingsError: As `fetch_prepared`.
    """
    if (workspace.prepared(name) / key).is_dir():
        return
    entry = registered_prepared(name, key, workspace)
    block = os.environ.get(REMOTE_BLOCK) if entry is None else entry.remote_block
    if entry is not None or block:
        stage.fetch_prepared(name, key, workspace, remote_in_block(block) if block else None, block)


def experiment_here(name: str, workspace: Workspace) -> Experiment:
    """The experiment of that id with its prepared dataset, both fetched where they are not in the workspace.

    Raises:
        NotFoundError: It is neither here nor in the remote.
    """
    block = os.environ.get(REMOTE_BLOCK)
    begun = is_there(name, workspace) and open_experiment(name, workspace).status is not Status.CREATED
    if block and not begun:
        stage.fetch_experiment(name, workspace, remote_in_block(block))
    experiment = open_experiment(name, workspace)
    spec = experiment.spec
    bring_prepared(workspace, spec.dataset, spec.prepared_key)
    return experiment


def bring_completed(names: Iterable[str], workspace: Workspace) -> None:
    """Fetches those of the experiments that another machine has completed, as the ledger says, and that are not here.

    One that was not sent (its machine named no remote) stays away, with a warning; what needs its files says so then.
    """
    block = os.environ.get(REMOTE_BLOCK)
    if not block:
        return
    remote, ledger = remote_in_block(block), Ledger(workspace.ledger_url)
    for name in names:
        if ledger.experiment(name).status is Standing.COMPLETED and not is_done(name, workspace):
            try:
                stage.fetch_experiment(name, workspace, remote)
            except NotFoundError as error:
                get_run_logger().warning("%s was completed on another machine and cannot be had here: %s", name, error)


def send(experiment: Experiment, workspace: Workspace) -> None:
    """Sends the experiment, without the optimizer's state, where a remote is named."""
    block = os.environ.get(REMOTE_BLOCK)
    if block:
        stage.send_experiment(experiment, workspace, remote_in_block(block))
