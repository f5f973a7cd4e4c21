"""One experiment: train, evaluate, explain."""

from __future__ import annotations

import sys

from prefect import flow

from flows.cli import main
from flows.configs import ExperimentConfig
from flows.elsewhere import send
from flows.hooks import ENDED
from flows.resolve import account_of, prepared_folder, workspace_of
from flows.results import EvaluateResult, ExperimentResult, ExplainResult, TrainResult
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.schema import Split
from glaucoma.training.settings import ExecutionSettings
from glaucoma.training.spec import ExperimentSpec, spec_from
from glaucoma.workspace import Workspace
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.plan import check_models
from tasks.remember import failure_remembered, remember
from tasks.train import train_with_retries


@flow(name="experiment", flow_run_name="experiment-{config.task.value}-{config.name}", **ENDED)
def experiment(config: ExperimentConfig) -> ExperimentResult:
    """Train, evaluate on validation and explain one model."""
    workspace = workspace_of(config)
    prepared = prepared_folder(workspace, config.name, config.prepared)
    check_models(config.train)
    account_of(config.train.execution.tracking)  # a block that is missing is no experiment's failure
    spec = spec_from(config.train, config.task, config.name, prepared.name)
    return remembered_experiment(spec, workspace, config.train.execution, config.evaluate, config.explain)


def remembered_experiment(
    spec: ExperimentSpec,
    workspace: Workspace,
    execution: ExecutionSettings,
    evaluation: EvaluateSettings,
    explanation: ExplainSettings,
) -> ExperimentResult:
    """`run_experiment`, and where it does not complete, the ledger learns why."""
    with failure_remembered(spec, workspace, rollback=execution.rollback):
        return run_experiment(spec, workspace, execution, evaluation, explanation)


def run_experiment(
    spec: ExperimentSpec,
    workspace: Workspace,
    execution: ExecutionSettings,
    evaluation: EvaluateSettings,
    explanation: ExplainSettings,
) -> ExperimentResult:
    """The stages of an experiment, in whatever flow they run; the ledger learns what came of it."""
    trained = train_with_retries(spec, workspace, execution, account_of(execution.tracking))
    measured = evaluate(trained, workspace, evaluation, Split.VAL)
    explained = explain(trained, workspace, explanation, Split.VAL)
    remember(spec, workspace)
    send(trained, workspace)
    return ExperimentResult(
        train=TrainResult.of(trained),
        evaluation=EvaluateResult.of(measured, trained.results / Split.VAL),
        explanation=ExplainResult.of(explained, trained.visualizations / Split.VAL),
    )


if __name__ == "__main__":
    sys.exit(main(experiment, ExperimentConfig))
