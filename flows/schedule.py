"""Put a batch of experiments into the queues for the GPUs."""

from __future__ import annotations

import sys
from functools import partial

from prefect import flow
from pydantic import ValidationError

from flows.cli import main
from flows.configs import ExperimentConfig
from flows.configs_queue import BatchExperiment, ScheduleConfig
from flows.resolve import prepared_folder, workspace_of
from flows.results_queue import ScheduledRow, ScheduleResult, show_schedule
from glaucoma.errors import InputError, problems
from glaucoma.planning.batch import is_done
from glaucoma.planning.settings import load_rules
from glaucoma.provenance import digest
from glaucoma.training.spec import ExperimentSpec, experiment_id, spec_from
from glaucoma.workspace import Workspace
from tasks.check_batch import check_batch
from tasks.queue_state import show_table
from tasks.submit import Submitted, Wanted, require_server, submit

DEPLOYMENT = "experiment/experiment"


@flow(name="schedule", flow_run_name="schedule-{config.named}")
def schedule(config: ScheduleConfig) -> ScheduleResult:
    """Check all experiments of the batch, then submit each as a run of its own; a second call doubles nothing."""
    if not config.dry_run:
        require_server()
    workspace = workspace_of(config)
    specs, runs, refused = described(config, workspace)
    check_batch(specs, refused, load_rules(config.rules) if config.rules else None)
    order = sorted(specs, key=lambda number: (config.experiments[number - 1].queue.priority, number))
    wanted = [run_of(config.experiments[n - 1], runs[n], specs[n], workspace) for n in order]
    if config.dry_run:
        rows = [row_of(one, None) for one in wanted]
    else:
        there = partial(is_done, workspace=workspace)
        submitted: list[Submitted] = submit(DEPLOYMENT, wanted, there, awaited=False)
        rows = [row_of(one, run) for one, run in zip(wanted, submitted, strict=True)]
    result = result_of(rows, dry_run=config.dry_run)
    show_table("schedule", [table_row(row) for row in rows], f"{len(rows)} experiments, in the order of their queues")
    return result


def described(
    config: ScheduleConfig, workspace: Workspace
) -> tuple[dict[int, ExperimentSpec], dict[int, ExperimentConfig], dict[int, str]]:
    """By number in the batch: each experiment's spec and its run's settings; or why it has none."""
    specs, runs, refused = {}, {}, {}
    for number, one in enumerate(config.experiments, 1):
        try:
            prepared = prepared_folder(workspace, str(one.name), one.prepared)
            runs[number] = config.of(one, prepared.name)
            specs[number] = spec_from(one.train, one.task, str(one.name), prepared.name)
        except ValidationError as error:
            refused[number] = problems(error)
        except InputError as error:
            refused[number] = str(error)
    return specs, {number: runs[number] for number in specs}, refused


def run_of(one: BatchExperiment, run: ExperimentConfig, spec: ExperimentSpec, workspace: Workspace) -> Wanted:
    """The run that is wanted; the same experiment, measured in the same way, is the same run."""
    name = experiment_id(spec)
    measured = [one.evaluate.model_dump(mode="json"), one.explain.model_dump(mode="json"), str(workspace.root)]
    tag = f"arc-batch:{name}:{digest(measured)[:8]}"
    return Wanted(name, tag, {"config": run.model_dump(mode="json")}, one.queue.name)


def row_of(wanted: Wanted, run: Submitted | None) -> ScheduledRow:
    """What is told of one experiment."""
    if run is None:
        return ScheduledRow(
            experiment_id=wanted.name, queue=wanted.queue, state="would be submitted", run_id="", link=""
        )
    state = "submitted" if run.new else "there already"
    return ScheduledRow(experiment_id=wanted.name, queue=run.queue, state=state, run_id=str(run.run_id), link=run.link)


def table_row(row: ScheduledRow) -> dict[str, str]:
    """The same for Prefect's pages."""
    run = f"[{row.run_id}]({row.link})" if row.link else row.run_id
    return {"experiment": row.experiment_id, "queue": row.queue, "state": row.state, "run": run}


def result_of(rows: list[ScheduledRow], *, dry_run: bool) -> ScheduleResult:
    """The whole batch."""
    states = [row.state for row in rows]
    return ScheduleResult(
        dry_run=dry_run,
        rows=rows,
        submitted=states.count("submitted"),
        there_already=states.count("there already"),
    )


if __name__ == "__main__":
    sys.exit(main(schedule, ScheduleConfig, show=show_schedule))
