"""An experiment made and not begun: its folder, its row in the ledger, and how it is to be run."""

from __future__ import annotations

from datetime import datetime

from glaucoma.errors import NotFoundError
from glaucoma.records.ended import TrainingRun, note_run, run_of
from glaucoma.records.ledger import Ledger
from glaucoma.records.remember import first_entry, remember
from glaucoma.training.experiment import Experiment, create_experiment, is_there
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec, experiment_id
from glaucoma.workspace import Workspace

NO_RUN = ""
"""The id of no flow run: nobody has trained it yet."""


def make_experiment(
    spec: ExperimentSpec, workspace: Workspace, ledger: Ledger, execution: ExecutionSettings, *, at: datetime
) -> tuple[Experiment, bool]:
    """The experiment of `spec`, and whether it is new; who resumes it later runs it as `execution` says.

    One that is there stays as it is, and so does how its last run was executed.
    """
    name = experiment_id(spec)
    new = not is_there(name, workspace)
    experiment = create_experiment(spec, workspace)
    if run_of(experiment) is None:
        note_run(spec, workspace, TrainingRun(run_id=NO_RUN, execution=execution))
    try:
        ledger.experiment(name)
    except NotFoundError:
        ledger.put(first_entry(spec, at))
        if not new:
            remember(experiment, ledger, at=at)
    return experiment, new
