"""The report's charts: intervals, ROC curves with a band, calibration, training, vertical CDR, the splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from glaucoma.evaluation.intervals import group_weights
from glaucoma.evaluation.result import Metric
from glaucoma.reporting.svg import Chart, nice_ticks, tag

Floats = NDArray[np.float64]
_SPLITS = {"train": "training", "val": "validation", "test": "test"}
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Curve:
    """A line with its name and the class of its colour."""

    name: str
    colour: str
    x: Floats
    y: Floats


def roc_chart(
    curves: Sequence[Curve],
    *,
    band: tuple[Floats, Floats, Floats] | None = None,
    point: tuple[float, float] | None = None,
) -> Markup:
    """ROC curves, the most important first.

    Args:
        band: x, low and high of the first curve.
        point: The first curve's operating point: 1 - specificity, sensitivity.
    """
    names = ", ".join(curve.name for curve in curves)
    chart = Chart(f"ROC curves of {names}", x=(0, 1), y=(0, 1), height=360)
    chart.axes(SHARES, SHARES, "1 − specificity", "Sensitivity")
    chart.line([(0, 0), (1, 1)], "chance")
    if band is not None and curves:
        chart.band(list(band[0]), list(band[1]), list(band[2]), curves[0].colour)
    for curve in reversed(curves):
        chart.line(zip(curve.x, curve.y, strict=True), curve.colour, curve.name)
    if point is not None and curves:
        chart.dot(
            *point,
            curves[0].colour,
            5.0,
            f"Operating point: sensitivity {point[1]:.3f}, specificity {1 - point[0]:.3f}",
        )
    return chart.render()


def roc_band(
    labels: Floats, scores: Floats, groups: NDArray[Any], *, replicates: int = 400, seed: int = 0
) -> tuple[Floats, Floats, Floats] | None:
    """95 % pointwise band of the sensitivity over 1 - specificity by a bootstrap of groups; None where there is none.

    Args:
        labels: (n,) of 0 and 1.
        scores: (n,), higher means glaucoma.
        groups: (n,) what may not be torn apart.
    """
    names, index = np.unique(groups, return_inverse=True)
    if names.size < 5 or len(set(labels.tolist())) < 2:
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), order.size - 1)
    grid = np.linspace(0, 1, 101)
    found = []
    for weights in group_weights(index, names.size, replicates, seed):
        for row in weights[:, order]:
            hits, alarms = np.cumsum(row * (labels[order] == 1))[ends], np.cumsum(row * (labels[order] == 0))[ends]
            if hits[-1] > 0 and alarms[-1] > 0:
                x, y = np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])
                found.append(np.interp(grid, x, y))
    if len(found) < replicates * 0.9:
        return None
    low, high = np.quantile(np.array(found), [0.025, 0.975], axis=0)
    return grid, low, high


def calibration_chart(predicted: Floats, observed: Floats, images: Floats, colour: str) -> Markup:
    """Share of glaucoma over mean predicted probability, a dot a bin, its area by the bin's images."""
    chart = Chart("Calibration: observed share of glaucoma by predicted probability", x=(0, 1), y=(0, 1), height=360)
    chart.axes(SHARES, SHARES, "Predicted probability of glaucoma", "Observed share of glaucoma")
    chart.line([(0, 0), (1, 1)], "chance")
    largest = max(float(images.max()), 1.0) if images.size else 1.0
    for x, y, n in zip(predicted, observed, images, strict=True):
        words = f"{int(n)} images: predicted {x:.2f}, observed {y:.2f}"
        chart.dot(float(x), float(y), colour, 3 + 4 * float(np.sqrt(n / largest)), words)
    return chart.render()


def training_chart(curves: Sequence[Curve], y_title: str, *, unit_scale: bool = False) -> Markup:
    """A quantity by epoch, a line an experiment; scores keep 1 as their upper end."""
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in curves]) if curves else np.zeros(0)
    epochs = max((float(curve.x.max()) for curve in curves if curve.x.size), default=1.0)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if unit_scale:
        high = 1.0
        low = min(low, 0.9)
    ticks = nice_ticks(low, high if high > low else low + 1, 4)
    chart = Chart(
        f"{y_title} by epoch",
        x=(min(1.0, epochs - 1), max(epochs, 1.0)),
        y=(ticks[0], ticks[-1]),
        width=320,
        height=230,
    )
    whole = [t for t in nice_ticks(1, epochs, 5) if 1 <= t <= epochs and t == int(t)] if epochs > 1 else [1.0]
    chart.axes(sorted({1.0, *whole}) if len(whole) < 6 else whole, ticks, "Epoch", "")  # the heading names it
    for curve in reversed(curves):
        chart.line(zip(curve.x, curve.y, strict=True), curve.colour, curve.name)
        if np.isfinite(curve.y).sum() == 1:
            where = int(np.flatnonzero(np.isfinite(curve.y))[0])
            chart.dot(float(curve.x[where]), float(curve.y[where]), curve.colour, 3.5, curve.name)
    return chart.render()


def vcdr_chart(true: Floats, predicted: Floats, glaucoma: NDArray[np.bool_]) -> Markup:
    """The model's vertical cup-to-disc ratio over the reader's; the line of agreement, and 0.1 to either side."""
    chart = Chart("Vertical cup-to-disc ratio, model against reader", x=(0, 1), y=(0, 1), height=360)
    chart.axes(SHARES, SHARES, "Reader's vertical CDR", "Model's vertical CDR")
    chart.band([0, 0.9, 1], [-0.0, 0.8, 0.9], [0.1, 1.0, 1.0], "agree")
    chart.line([(0, 0), (1, 1)], "chance")
    for x, y, ill in zip(true, predicted, glaucoma, strict=True):
        chart.dot(float(x), float(y), "c1" if ill else "c0", 3.5, f"reader {x:.2f}, model {y:.2f}")
    return chart.render()


def interval_bar(metric: Metric, *, low: float = 0.0, high: float = 1.0, mark: float | None = None) -> Markup:
    """A number with its interval on a line from `low` to `high`; nothing but the line where it is undefined."""
    chart = Chart(f"{metric}", x=(low, high), y=(0, 1), width=240, height=26, left=6, right=6, top=0, bottom=0)
    chart.line([(low, 0.5), (high, 0.5)], "rail")
    if mark is not None and low <= mark <= high:
        chart.line([(mark, 0.15), (mark, 0.85)], "mark")
    if metric.low is not None and metric.high is not None:
        ends = [(min(max(value, low), high), 0.5) for value in (metric.low, metric.high)]
        chart.line(ends, "interval")
    if metric.value is not None:
        chart.dot(min(max(metric.value, low), high), 0.5, "value", 4.5)
    return chart.render("interval-bar")


def split_bars(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """A bar a split, stacked by label, on one scale."""
    most = max((sum(labels.values()) for labels in counts.values()), default=0)
    if not most:
        return Markup("")
    row, left, width = 30, 78, 420
    parts: list[Markup] = [tag("title", "Images by split and label")]
    for place, (split, labels) in enumerate(counts.items()):
        y, x = place * row, float(left)
        parts.append(
            tag(
                "text",
                Markup.escape(_SPLITS.get(split, split)),
                class_="tick strong",
                x=left - 8,
                y=y + 19,
                text_anchor="end",
            )
        )
        for label, n in labels.items():
            span = n / most * (width - left - 44)
            if n:
                words = tag("title", Markup.escape(f"{split}: {n} {label}"))
                parts.append(tag("rect", words, class_=f"bar {_word(label)}", x=x, y=y + 6, width=span, height=18))
                if span > 22:
                    parts.append(tag("text", str(n), class_="on-bar", x=x + span / 2, y=y + 19, text_anchor="middle"))
            x += span
        parts.append(tag("text", str(sum(labels.values())), class_="tick", x=x + 7, y=y + 19))
    return _bars(parts, width, len(counts) * row)


def share_bars(shares: Mapping[str, Mapping[str, float]]) -> Markup:
    """A bar a model, full width, divided into named shares that sum to 1; each share's name is its colour's class."""
    row, width = 26, 420
    parts: list[Markup] = [tag("title", "Where the relevance lies")]
    for place, (model, values) in enumerate(shares.items()):
        x = 0.0
        for name, value in values.items():
            span = max(value, 0.0) * width
            words = tag("title", Markup.escape(f"{model}: {value:.0%} {name}"))
            parts.append(tag("rect", words, class_=f"bar {name}", x=x, y=place * row + 3, width=span, height=20))
            if span > 30:
                at = {"x": x + span / 2, "y": place * row + 17, "text_anchor": "middle"}
                parts.append(tag("text", f"{value:.0%}", class_="on-bar", **at))
            x += span
    return _bars(parts, width, len(shares) * row)


def _bars(parts: Sequence[Markup], width: float, height: float) -> Markup:
    view = f"0 0 {width:g} {height:g}"
    body = Markup("").join(parts)
    return tag("svg", body, class_="chart", viewBox=view, role="img", xmlns="http://www.w3.org/2000/svg")


def _word(label: str) -> str:
    """A label as a class name; only the four known ones have a colour."""
    return label if label in ("normal", "glaucoma", "suspect") else "unknown"
