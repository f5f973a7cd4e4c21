"""Which experiment is better, on the same validation images, and whether that can be told at all.

Every experiment is compared with the leader by a paired bootstrap that draws whole groups (patients), so what makes an
image hard for both cancels out. Whose interval holds 0 shares the leader's rank: a difference that cannot be told from
none is called a tie, whatever the third decimal says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from glaucoma.errors import InputError, IntegrityError, NotFoundError
from glaucoma.evaluation.intervals import Statistic, bootstrap_interval
from glaucoma.evaluation.result import Metric
from glaucoma.evaluation.statistics import weighted_auc, weighted_mean
from glaucoma.planning.words import METRIC_NAMES
from glaucoma.records.comparison import Comparison, Ranked
from glaucoma.records.words import PRIMARY_METRIC
from glaucoma.schema import Split, Task
from glaucoma.training.experiment import Experiment, open_experiment
from glaucoma.workspace import Workspace

PREDICTIONS_NAME = "predictions.csv"
_SPLITS = {Split.TRAIN: "training", Split.VAL: "validation", Split.TEST: "test"}
_COLUMNS = {
    Task.CLASSIFICATION: ("image_id", "group", "label", "probability"),
    Task.SEGMENTATION: ("image_id", "group", "disc_dice_score", "cup_dice_score"),
}


def compare(
    experiment_ids: Sequence[str],
    workspace: Workspace,
    *,
    incumbent: str | None = None,
    split: Split = Split.VAL,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Ranks evaluated experiments of one task and prepared dataset, and compares the first with the incumbent.

    Args:
        incumbent: The best one so far; it joins the ranking.

    Raises:
        NotFoundError: An experiment is not there, or was not evaluated on `split`.
        InputError: They are of several tasks or prepared datasets, or none is given.
        IntegrityError: Their predictions are not of the same images, labels and groups.
    """
    ids = list(dict.fromkeys([*experiment_ids, *([incumbent] if incumbent else [])]))
    experiments = [open_experiment(name, workspace) for name in ids]
    task = _one_question(experiments)
    tables = {e.experiment_id: _predictions(e, task, split) for e in experiments}
    _same_images(tables)

    def difference(first: str, second: str) -> Metric:
        return _difference(tables[first], tables[second], task, replicates=replicates, confidence=confidence, seed=seed)

    scores = {e.experiment_id: _score(e, task, split) for e in experiments}
    order = sorted(ids, key=lambda name: (-_or_lowest(scores[name]), ids.index(name)))
    leader = order[0]
    behind = {name: difference(leader, name) for name in order[1:] if scores[name].value is not None}
    ranking = _ranking(order, scores, behind)
    gain = behind.get(incumbent) if incumbent else None
    sentences = _sentences(task, split, ranking, incumbent, gain)
    return Comparison(
        task=task,
        metric=PRIMARY_METRIC[task],
        split=split,
        ranking=ranking,
        incumbent=incumbent,
        gain=gain,
        sentences=sentences,
    )


def _one_question(experiments: Sequence[Experiment]) -> Task:
    if not experiments:
        raise InputError("No experiment to compare", expected="one at least")
    questions = {(e.metadata.task, e.metadata.prepared_key) for e in experiments}
    if len(questions) > 1:
        shown = "; ".join(sorted(f"{task} on {key}" for task, key in questions))
        raise InputError(
            f"The experiments answer different questions: {shown}", expected="one task on one prepared dataset"
        )
    return next(iter(questions))[0]


def _predictions(experiment: Experiment, task: Task, split: Split) -> pd.DataFrame:
    path = experiment.folder / "results" / str(split) / PREDICTIONS_NAME
    if not path.is_file():
        raise NotFoundError(
            f"{experiment.experiment_id} has no predictions on {split} ({path})", remedy="evaluate it first"
        )
    return read_predictions(path, task)


def read_predictions(path: Path, task: Task) -> pd.DataFrame:
    """The columns that a comparison needs, in order of image_id; `IntegrityError` where the table lacks one."""
    table = pd.read_csv(path, dtype={"image_id": str, "group": str}, keep_default_na=True)
    if missing := [name for name in _COLUMNS[task] if name not in table.columns]:
        raise IntegrityError(f"{path} lacks the columns {', '.join(missing)}", remedy="evaluate the experiment again")
    return table[list(_COLUMNS[task])].sort_values("image_id", kind="stable").reset_index(drop=True)


def _same_images(tables: dict[str, pd.DataFrame]) -> None:
    (first_id, first), *others = tables.items()
    facts = [name for name in ("image_id", "group", "label") if name in first.columns]
    for other_id, other in others:
        if not first[facts].equals(other[facts]):
            raise IntegrityError(
                f"{first_id} and {other_id} were measured on different images, groups or labels",
                consequence="They were not compared",
                remedy="evaluate both again on the same prepared dataset",
            )


def _score(experiment: Experiment, task: Task, split: Split) -> Metric:
    found = experiment.metadata.metrics.get(str(split), {}).get(PRIMARY_METRIC[task])
    if found is None:
        raise NotFoundError(f"{experiment.experiment_id} has no metrics on {split}", remedy="evaluate it first")
    return Metric.model_validate(found)


def _statistic(table: pd.DataFrame, task: Task) -> Statistic:
    """The primary metric as a function of how often each image is drawn."""
    if task is Task.CLASSIFICATION:
        return weighted_auc(table["label"].to_numpy(), table["probability"].to_numpy(dtype=float))
    disc, cup = (weighted_mean(table[f"{name}_dice_score"].to_numpy(dtype=float)) for name in ("disc", "cup"))
    return lambda weights: (disc(weights) + cup(weights)) / 2


def _difference(
    first: pd.DataFrame, second: pd.DataFrame, task: Task, *, replicates: int, confidence: float, seed: int
) -> Metric:
    """First less second on the images that both have a value for; undefined with its reason where there is none."""
    numbers = [name for name in _COLUMNS[task] if name not in ("image_id", "group", "label")]
    known = (first[numbers].notna() & second[numbers].notna()).any(axis=1).to_numpy()
    one, other = (_statistic(table[known], task) for table in (first, second))
    n, expected = int(known.sum()), len(known)
    value = float((one(np.ones((1, n))) - other(np.ones((1, n))))[0]) if n else float("nan")
    if np.isnan(value):
        return Metric(value=None, n=0, n_expected=expected, reason="the score of one of the two is undefined")
    interval = bootstrap_interval(
        lambda weights: one(weights) - other(weights),
        first.loc[known, "group"].to_numpy(),
        replicates=replicates,
        confidence=confidence,
        seed=seed,
    )
    missing = bool(np.isnan(interval.low))
    return Metric(
        value=value,
        low=None if missing else interval.low,
        high=None if missing else interval.high,
        n=n,
        n_expected=expected,
        method=None if missing else f"paired {interval.method}",
        reason=f"no interval: {interval.reason}" if missing else None,
    )


def _ranking(order: list[str], scores: dict[str, Metric], behind: dict[str, Metric]) -> list[Ranked]:
    """Ranks as in sport: who is told to be behind stands after all that are ahead of it in order."""
    ranked: list[Ranked] = []
    for place, name in enumerate(order, start=1):
        gap = behind.get(name)
        told = scores[name].value is None or (gap is not None and gap.low is not None and gap.low > 0)
        ranked.append(
            Ranked(experiment_id=name, rank=place if told and place > 1 else 1, score=scores[name], behind=gap)
        )
    return ranked


def _sentences(
    task: Task, split: Split, ranking: list[Ranked], incumbent: str | None, gain: Metric | None
) -> list[str]:
    name = METRIC_NAMES[PRIMARY_METRIC[task]]
    first = ranking[0]
    if first.score.value is None:
        return [f"No {task} experiment has a defined {name} on {_SPLITS[split]}: {first.score.reason}."]
    said = [f"Best {task}: {first.experiment_id}, {name} {first.score} on {_SPLITS[split]}."]
    ties = [r.experiment_id for r in ranking[1:] if r.rank == 1]
    if ties:
        said.append(
            f"{_listed(ties)} cannot be told from the best on these {first.score.n} images "
            "(the paired interval of the difference holds 0, or there is none)."
        )
    if gain is not None and gain.value is not None and gain.low is not None and gain.high is not None:
        told = "a gain over" if gain.low > 0 else "not told from"
        said.append(
            f"Against the best before, it is {told} {incumbent}: "
            f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), paired by patient."
        )
    elif incumbent is not None and incumbent == first.experiment_id and len(ranking) > 1:
        said.append("The best before is still the best: nothing new passed it.")
    if len(ranking) > 2:
        said.append(
            f"It is the best of {len(ranking)} on the same images, so its score looks a little better than it is; "
            "the intervals are not adjusted for that."
        )
    return said


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _or_lowest(score: Metric) -> float:
    return score.value if score.value is not None else float("-inf")
