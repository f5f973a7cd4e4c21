"""From the rows of `dri.csv` to means with intervals, and how many images each rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.evaluation.intervals import bootstrap_interval, share_interval
from glaucoma.evaluation.measure_classifier import metric
from glaucoma.evaluation.result import Metric
from glaucoma.evaluation.statistics import weighted_mean
from glaucoma.explanation.settings import ExplainSettings
from glaucoma.schema import Label

_FACTS = {"image_id", "group", "site", "label", "logit", "probability", "explained_class", "reason"}
_OTHERWISE = {
    "dri_untrained": "controls are off, or the untrained network's map is nowhere positive",
    "evidence_lost_disc": "controls are off",
    "evidence_lost_elsewhere": "controls are off, or no other place of the disc's size lies in the field of view",
    "nasal_rim_share": "it is not known which eye it is",
    "temporal_rim_share": "it is not known which eye it is",
}
"""Why a measure is missing where the image's map itself is in order."""


def summarise(rows: Sequence[Mapping[str, Any]], settings: ExplainSettings) -> dict[str, Metric]:
    """Mean and interval of every measure of `dri.csv`, and of the DRI by label.

    Means run over the images where the measure is defined; the metric says how many that are of how many.
    """
    frame = pd.DataFrame(list(rows))
    metrics = {str(name): _summary(frame, str(name), settings) for name in frame.columns if name not in _FACTS}
    for label in (Label.GLAUCOMA, Label.NORMAL):
        metrics[f"dri_of_{label}"] = _summary(frame[frame["label"] == str(label)], "dri", settings)
    return metrics


def _summary(frame: pd.DataFrame, name: str, settings: ExplainSettings) -> Metric:
    values = frame[name].to_numpy(dtype=float)
    known = values[~np.isnan(values)]
    groups = frame["group"].to_numpy()
    if name == "pointing_hit":  # a share: all or none of the images still have an interval
        interval = share_interval(known, groups[~np.isnan(values)], settings.confidence)
    else:
        interval = bootstrap_interval(
            weighted_mean(values),
            groups,
            replicates=settings.replicates,
            confidence=settings.confidence,
            seed=settings.seed,
        )
    mean = float(known.mean()) if known.size else float("nan")
    return metric(mean, interval, int(known.size), len(values), _why(frame, values, name))


def _why(frame: pd.DataFrame, values: NDArray[np.float64], name: str) -> str | None:
    """Why some images have no value: the reasons of `dri.csv`, counted."""
    missing = frame[np.isnan(values)]
    if not len(frame):
        return "no such image was explained"
    if missing.empty:
        return None
    otherwise = _OTHERWISE.get(name, "the map is nowhere positive inside the field of view")
    counts = missing["reason"].replace("", otherwise).value_counts()
    return "; ".join(f"{n} of {len(frame)} images: {reason}" for reason, n in counts.items())
