from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from glaucoma.errors import InputError, IntegrityError, NotFoundError
from glaucoma.evaluation.classification import auc_score
from glaucoma.evaluation.result import Metric
from glaucoma.planning.compare import compare
from glaucoma.planning.lessons import lessons, seed_noise, vetoes
from glaucoma.planning.settings import Rules
from glaucoma.records.ledger import LedgerExperiment
from glaucoma.records.record import ExperimentFacts
from glaucoma.schema import Task
from glaucoma.training.experiment import create_experiment
from glaucoma.training.spec import ExperimentSpec
from glaucoma.workspace import Workspace

N = 120
LABELS = np.arange(N) % 3 == 0
GROUPS = np.array([f"p{i // 2}" for i in range(N)])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def evaluated(workspace: Workspace, base: ExperimentSpec) -> Callable[..., str]:
    """An experiment as evaluation leaves it: predictions, and the metric in its metadata."""

    def make(seed: int, scores: Any, *, labels: Any = LABELS, ids: Any = None, **changes: Any) -> str:
        experiment = create_experiment(base.model_copy(update={"seed": seed, **changes}), workspace)
        folder = experiment.results / "val"
        folder.mkdir(parents=True)
        names = ids if ids is not None else [f"i{i:03d}" for i in range(len(labels))]
        table = {
            "image_id": names,
            "group": GROUPS[: len(labels)],
            "label": np.asarray(labels).astype(int),
            "probability": scores,
        }
        pd.DataFrame(table).sample(frac=1, random_state=seed).to_csv(folder / "predictions.csv", index=False)
        auc = auc_score(labels, scores)
        known = not np.isnan(auc)
        metric = Metric(
            value=auc if known else None, n=N if known else 0, n_expected=N, reason=None if known else "one class"
        )
        experiment.set_metrics("val", {"auc": metric.model_dump(mode="json")})
        return experiment.experiment_id

    return make


def scores(strength: float, seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 1, N) + strength * LABELS


def test_a_clear_winner_is_first_and_its_gain_is_told(workspace: Workspace, evaluated: Callable[..., str]) -> None:
    weak, strong = evaluated(1, scores(0.2, 1)), evaluated(2, scores(3.0, 2))
    found = compare([strong], workspace, incumbent=weak, replicates=300)
    assert [r.experiment_id for r in found.ranking] == [strong, weak]
    assert [r.rank for r in found.ranking] == [1, 2]
    assert found.gain_is_told
    assert found.gain is not None
    assert found.gain.value == pytest.approx(auc_score(LABELS, scores(3.0, 2)) - auc_score(LABELS, scores(0.2, 1)))
    assert any("a gain over" in line for line in found.sentences)


def test_equals_share_the_first_rank_and_the_sentence_says_so(
    workspace: Workspace, evaluated: Callable[..., str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.4, (3, N))
    ids = [evaluated(seed, scores(1.0, 9) + noise[seed]) for seed in (0, 1, 2)]
    found = compare(ids, workspace, replicates=300)
    assert [r.rank for r in found.ranking] == [1, 1, 1]
    assert any("cannot be told from the best" in line for line in found.sentences)
    assert any("best of 3 on the same images" in line for line in found.sentences)


def test_the_difference_from_an_equal_score_is_zero_and_no_gain(
    workspace: Workspace, evaluated: Callable[..., str]
) -> None:
    same = scores(1.0, 5)
    one, other = evaluated(1, same), evaluated(2, same)
    found = compare([other], workspace, incumbent=one, replicates=200)
    assert found.ranking[1].behind is not None
    assert found.ranking[1].behind.value == 0
    assert not found.gain_is_told


def test_the_paired_interval_is_narrower_than_an_unpaired_one_and_repeatable(
    workspace: Workspace, evaluated: Callable[..., str]
) -> None:
    first = scores(1.0, 1)
    ids = [evaluated(1, first), evaluated(2, first + np.random.default_rng(0).normal(0, 0.1, N))]
    found, again = compare(ids, workspace, replicates=300), compare(ids, workspace, replicates=300)
    assert found == again
    gap = found.ranking[1].behind
    assert gap is not None
    assert gap.low is not None
    assert gap.high is not None
    assert gap.high - gap.low < 0.06


def test_an_undefined_score_comes_last_and_never_counts_as_zero(
    workspace: Workspace, evaluated: Callable[..., str]
) -> None:
    nothing = np.zeros(N, dtype=bool)
    only = evaluated(1, scores(1, 1), labels=nothing)
    found = compare([only], workspace, replicates=200)
    assert found.leader is None
    assert "one class" in found.sentences[0]


def test_the_incumbent_stays_where_nothing_passes_it(workspace: Workspace, evaluated: Callable[..., str]) -> None:
    strong, weak = evaluated(1, scores(3.0, 1)), evaluated(2, scores(0.1, 2))
    found = compare([weak], workspace, incumbent=strong, replicates=200)
    assert found.leader == strong
    assert any("still the best" in line for line in found.sentences)


def test_different_images_labels_or_tasks_are_not_compared(workspace: Workspace, evaluated: Callable[..., str]) -> None:
    one = evaluated(1, scores(1, 1))
    other = evaluated(2, scores(1, 2), ids=[f"j{i:03d}" for i in range(N)])
    with pytest.raises(IntegrityError, match="different images"):
        compare([one, other], workspace)
    with pytest.raises(IntegrityError, match="different images"):
        compare([one, evaluated(3, scores(1, 3), labels=~LABELS)], workspace)
    with pytest.raises(InputError, match="different questions"):
        compare([one, evaluated(4, scores(1, 4), prepared_key="b" * 16)], workspace)
    with pytest.raises(InputError, match="No experiment"):
        compare([], workspace)


def test_an_experiment_without_predictions_is_named(workspace: Workspace, base: ExperimentSpec) -> None:
    name = create_experiment(base, workspace).experiment_id
    with pytest.raises(NotFoundError, match=name):
        compare([name], workspace)
    with pytest.raises(NotFoundError, match="nobody"):
        compare(["nobody"], workspace)


def test_segmenters_are_compared_by_the_mean_of_disc_and_cup(workspace: Workspace, base: ExperimentSpec) -> None:
    rng = np.random.default_rng(0)
    ids = []
    for seed, quality in ((1, 0.8), (2, 0.9)):
        spec = base.model_copy(update={"task": Task.SEGMENTATION, "loss": "dice", "input_px": 128, "seed": seed})
        experiment = create_experiment(spec, workspace)
        (experiment.results / "val").mkdir(parents=True)
        disc, cup = rng.normal(quality, 0.01, N), rng.normal(quality - 0.1, 0.02, N)
        cup[:5] = np.nan
        table = {"image_id": np.arange(N), "group": GROUPS, "disc_dice_score": disc, "cup_dice_score": cup}
        pd.DataFrame(table).to_csv(experiment.results / "val" / "predictions.csv", index=False)
        value = (disc.mean() + np.nanmean(cup)) / 2
        experiment.set_metrics("val", {"mean_dice": Metric(value=value, n=N - 5, n_expected=N).model_dump(mode="json")})
        ids.append(experiment.experiment_id)
    found = compare(ids, workspace, replicates=200)
    assert found.leader == ids[1]
    assert found.metric == "mean_dice"
    assert found.ranking[1].behind is not None
    assert found.ranking[1].behind.value == pytest.approx(0.1, abs=0.01)
    assert found.ranking[1].rank == 2


def facts(name: str, spec: ExperimentSpec, **more: Any) -> ExperimentFacts:
    values: dict[str, Any] = {
        "experiment_id": name,
        "task": spec.task,
        "model": "m",
        "status": "completed",
        "seed": 0,
        "spec": {},
    }
    return ExperimentFacts.model_validate(values | more)


def test_floors_and_ties_bar_a_promotion(
    workspace: Workspace, evaluated: Callable[..., str], base: ExperimentSpec
) -> None:
    weak, tied = evaluated(1, scores(1.0, 1)), evaluated(2, scores(1.0, 2))
    comparison = compare([tied], workspace, incumbent=weak, replicates=200)
    leader = comparison.leader or ""
    if leader != weak:
        assert any("cannot be told" in line for line in vetoes(facts(leader, base), Rules(), comparison))
    sure = {"val": {"sensitivity": {"value": 0.7, "n": 9, "n_expected": 9}}}
    assert vetoes(facts("x", base, metrics=sure), Rules(min_sensitivity=0.6)) == []
    barred = vetoes(facts("x", base, metrics=sure, novelty="wildcat"), Rules(min_sensitivity=0.8, min_dri_lift=2))
    assert len(barred) == 3
    assert any("DRI lift is not measured" in line for line in barred)
    assert vetoes(facts("x", base, status="failed"), Rules()) == ["it is failed, not completed"]


def test_lessons_name_what_failed_and_say_when_there_is_nothing_to_say(base: ExperimentSpec) -> None:
    assert lessons([], []) == ["No experiment was completed, so nothing can be said of the models."]
    said = lessons([facts("x", base, status="failed", failure="It diverged.\nTrace")], [])
    assert said == ["x ended as failed: It diverged."]


def test_seed_noise_needs_three_runs_of_the_same_settings(
    base: ExperimentSpec, remember: Callable[..., LedgerExperiment]
) -> None:
    entries = [remember(base.model_copy(update={"seed": s}), 0.8 + s / 100) for s in range(3)]
    entries.append(remember(base.model_copy(update={"augment": 0.1}), 0.1))
    spread, n = seed_noise(entries, entries[0].experiment_id)
    assert (spread, n) == (pytest.approx(0.01), 3)
    assert seed_noise(entries[:2], entries[0].experiment_id) == (None, 2)
    assert seed_noise(entries, "nobody") == (None, 0)
