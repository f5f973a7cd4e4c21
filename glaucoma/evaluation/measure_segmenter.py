"""From a segmenter's predictions on a split to its metrics with intervals: per image first, then over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.evaluation.cup_disc_ratio import CLOSE, agreement, predicted_structures, vertical_cdr
from glaucoma.evaluation.intervals import Interval, Statistic, bootstrap_interval, no_interval, share_interval
from glaucoma.evaluation.measure_classifier import Scored, auc_metric, metric
from glaucoma.evaluation.result import Metric
from glaucoma.evaluation.segmentation import Outcome, equivalent_diameter_px, score_structure
from glaucoma.evaluation.settings import EvaluateSettings
from glaucoma.evaluation.statistics import weighted_mean
from glaucoma.schema import Column, Label, MaskValue, StructureState

PRIMARY = "mean_dice"
STRUCTURES = ("disc", "cup")
_PER_IMAGE = ("dice_score", "iou_score", "hd95_dd", "assd_dd")
_STATES = {"disc": Column.DISC_STATE, "cup": Column.CUP_STATE}


def score_image(
    probability: NDArray[np.float32], truth: NDArray[np.uint8], row: Mapping[str, Any], mask_threshold: float
) -> dict[str, Any]:
    """One row of `predictions.csv`: every score of one image.

    Args:
        probability: (2, S, S), the whole disc and the cup.
        truth: (S, S) of `MaskValue`.
        row: The image's row of the manifest. A structure that it calls not visible is not scored: the reader made no
            statement about it.
    """
    real = {"disc": truth >= MaskValue.DISC, "cup": truth == MaskValue.CUP}
    guess = dict(zip(STRUCTURES, predicted_structures(probability, mask_threshold), strict=True))
    diameter = equivalent_diameter_px(real["disc"])
    scores: dict[str, Any] = {name: row[name] for name in (Column.IMAGE_ID, Column.GROUP, Column.SITE, Column.LABEL)}
    for name in STRUCTURES:
        stated = row[_STATES[name]] != StructureState.NOT_VISIBLE
        found = score_structure(guess[name], real[name])
        values = {
            "dice_score": found.dice_score,
            "iou_score": found.iou_score,
            "hd95_px": found.hd95_px,
            "assd_px": found.assd_px,
            # in units of the reader's disc; without one there is no unit
            "hd95_dd": found.hd95_px / diameter if diameter else float("nan"),
            "assd_dd": found.assd_px / diameter if diameter else float("nan"),
        }
        scores[f"{name}_outcome"] = str(found.outcome) if stated else ""
        scores.update({f"{name}_{key}": value if stated else float("nan") for key, value in values.items()})
    scores["vcdr_predicted"] = vertical_cdr(guess["disc"], guess["cup"])
    scores["vcdr_true"] = vertical_cdr(real["disc"], real["cup"]) if real["cup"].any() else float("nan")
    return {str(key): value for key, value in scores.items()}


def measure_segmenter(frame: pd.DataFrame, expected: int, settings: EvaluateSettings) -> dict[str, Metric]:
    """All metrics of a segmenter on one split.

    Args:
        frame: One `score_image` row per image.
        expected: Images of the split that have a mask.
    """
    groups = frame["group"].to_numpy()

    def bootstrap(statistic: Statistic) -> Interval:
        return bootstrap_interval(
            statistic, groups, replicates=settings.replicates, confidence=settings.confidence, seed=settings.seed
        )

    means = [weighted_mean(frame[f"{name}_dice_score"]) for name in STRUCTURES]
    both = frame[[f"{name}_dice_score" for name in STRUCTURES]].notna().all(axis=1)
    metrics = {
        PRIMARY: metric(
            float(np.mean([_mean(frame[f"{name}_dice_score"]) for name in STRUCTURES])),
            bootstrap(lambda weights: (means[0](weights) + means[1](weights)) / 2),
            int(both.sum()),
            expected,
            _gap(int(both.sum()), expected, "with a mask, whose disc and cup cannot both be scored"),
        )
    }
    for name in STRUCTURES:
        for score in _PER_IMAGE:
            values = frame[f"{name}_{score}"].to_numpy(dtype=float)
            n = int((~np.isnan(values)).sum())
            why = _gap(n, expected, f"with a mask, whose {name} cannot be scored")
            metrics[f"{name}_{score.removesuffix('_score')}"] = metric(
                _mean(values), bootstrap(weighted_mean(values)), n, expected, why
            )
        metrics[f"{name}_found"] = _found(frame, name, settings)
    metrics.update(_vcdr_metrics(frame, bootstrap, settings))
    return metrics


def _found(frame: pd.DataFrame, name: str, settings: EvaluateSettings) -> Metric:
    """Share of the structures marked by the reader of which the model marked any pixel."""
    marked = frame[frame[f"{name}_outcome"].isin([Outcome.FOUND, Outcome.MISSED])]
    hits = (marked[f"{name}_outcome"] == Outcome.FOUND).to_numpy()
    interval = share_interval(hits, marked["group"].to_numpy(), settings.confidence)
    return metric(_mean(hits.astype(float)), interval, len(marked), len(marked), None if hits.size else f"no {name}")


def _vcdr_metrics(
    frame: pd.DataFrame, bootstrap: Callable[[Statistic], Interval], settings: EvaluateSettings
) -> dict[str, Metric]:
    """Agreement of the vertical cup-to-disc ratio with the readers', and how well it tells glaucoma."""
    guess, real = (frame[name].to_numpy(dtype=float) for name in ("vcdr_predicted", "vcdr_true"))
    found, difference = agreement(guess, real), guess - real
    none = "no image with both a disc and a cup in the reader's mask"
    gap = none if not found.n_expected else _gap(found.n, found.n_expected, "where the model found no disc")
    known = ~np.isnan(real)
    close = np.abs(np.where(np.isnan(difference), np.inf, difference))[known] <= CLOSE + 1e-12
    groups = frame["group"].to_numpy()

    def of_pairs(value: float, interval: Interval) -> Metric:
        return metric(value, interval, found.n, found.n_expected, gap)

    return {
        "vcdr_mae": of_pairs(found.mae_error, bootstrap(weighted_mean(np.abs(difference)))),
        "vcdr_bias": of_pairs(found.bias, bootstrap(weighted_mean(difference))),
        "vcdr_limit_low": of_pairs(found.limit_low, no_interval("", "")),
        "vcdr_limit_high": of_pairs(found.limit_high, no_interval("", "")),
        "vcdr_close": metric(
            found.close_share,
            share_interval(close, groups[known], settings.confidence),
            found.n_expected,
            found.n_expected,
            None if found.n_expected else none,
        ),
        "vcdr_auc": _vcdr_auc(frame, "vcdr_predicted", settings),
        "vcdr_true_auc": _vcdr_auc(frame, "vcdr_true", settings),
    }


def _vcdr_auc(frame: pd.DataFrame, column: str, settings: EvaluateSettings) -> Metric:
    """AUC of the ratio alone as a score for glaucoma, among images whose label is known."""
    labelled = frame[frame["label"].isin([Label.NORMAL, Label.GLAUCOMA])]
    table = pd.DataFrame(
        {
            "label": (labelled["label"] == Label.GLAUCOMA).astype(int),
            "probability": labelled[column].astype(float),
            "group": labelled["group"],
        }
    )
    return auc_metric(Scored.from_frame(table), settings)


def _mean(values: Any) -> float:
    """Mean of what is defined; NaN where nothing is."""
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")


def _gap(n: int, expected: int, what: str) -> str | None:
    return f"{expected - n} of {expected} images {what}" if n < expected else None
