"""The page of a drift: a chart of all distances, and both distributions of each quantity. Opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glaucoma.datasets.comparison import Comparison, numbers
from glaucoma.datasets.drift_measures import LabelMix

PAGE_NAME = "drift.html"
_BINS = 30
_WIDTH, _HEIGHT, _LEFT, _BASE = 340, 170, 10, 140
_ROW, _NAME_WIDTH, _BAR_WIDTH = 26, 130, 420
_STYLE = """
:root{--ink:#222;--page:#fff;--soft:#8b95a1;--line:#d5d9de;--new:#0b6bcb;--bad:#b3261e;--good:#176f2c}
@media (prefers-color-scheme:dark){
:root{--ink:#e2e2e2;--page:#181818;--soft:#8b95a1;--line:#3a3f45;--new:#6cb2ff;--bad:#ff8a80;--good:#7bd88f}}
body{font-family:system-ui,sans-serif;max-width:74rem;margin:1rem auto;padding:0 1rem;line-height:1.45;
color:var(--ink);background:var(--page)}
h1{font-size:1.4rem;line-height:1.25}h2{font-size:1.1rem}.key{color:var(--soft)}.bad{color:var(--bad);font-weight:600}
.good{color:var(--good);font-weight:600}.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));
gap:.5rem 1.2rem}figure{margin:0}figcaption{font-size:.85rem}svg{width:100%;height:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
td,th{border-bottom:1px solid var(--line);padding:.3rem .5rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
text{font:12px system-ui,sans-serif;fill:var(--ink);paint-order:stroke;stroke:var(--page);stroke-width:3px}
.tick{fill:var(--soft);font-size:11px}
.axis{stroke:var(--line)}.old{fill:var(--soft);fill-opacity:.45}.new{fill:none;stroke:var(--new);stroke-width:2}
.bar{fill:var(--soft);fill-opacity:.55}.over{fill:var(--bad)}.limit{stroke:var(--ink);stroke-width:2}
.swatch{display:inline-block;width:.9rem;height:.7rem;margin:0 .3rem 0 .8rem}
"""


def drift_page(
    title: str,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    comparisons: Sequence[Comparison],
    labels: LabelMix | None,
    indices: dict[str, float | None],
    left_out: dict[str, str],
    floor_sd: float,
) -> str:
    """HTML with inline SVG; the same arguments give the same text.

    Args:
        tables: The checks of the new dataset and of the reference.
        indices: Quantity -> population stability index, None where too few images.
        left_out: Quantity -> why it was not compared.
        floor_sd: The smallest distance that counts.
    """
    drifted = [one.quantity for one in comparisons if one.differs]
    drifted += ["labels"] if labels is not None and labels.drifted else []
    verdict = (
        f'<p class="bad">Drifted: {escape(", ".join(drifted))}.</p>'
        if drifted
        else '<p class="good">No drift seen.</p>'
    )
    missing = "".join(f"<li>{escape(name)}: not compared, {escape(why)}</li>" for name, why in left_out.items())
    plots = "".join(_figure(one, tables) for one in comparisons)
    key = (
        '<p class="key"><span class="swatch" style="background:var(--soft)"></span>reference'
        '<span class="swatch" style="background:var(--new)"></span>this dataset; both as shares of their images</p>'
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(tables[0])} images against {len(tables[1])}.</p>{verdict}",
        "<h2>How far apart</h2>",
        _distances(comparisons, floor_sd) if comparisons else "<p>Too few images to compare.</p>",
        f"<ul>{missing}</ul>" if missing else "",
        f'<h2>Distributions</h2>{key}<div class="plots">{plots}{_labels_figure(labels) if labels else ""}</div>',
        f"<h2>Numbers</h2>{_table(comparisons, indices)}",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "".join(parts)
    return f'<!DOCTYPE html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n'


def _distances(comparisons: Sequence[Comparison], floor_sd: float) -> str:
    """A bar per quantity, and a line where distances begin to count."""
    limit = max(floor_sd, max(one.threshold_sd for one in comparisons))
    longest = max(limit * 1.5, max(one.distance_sd for one in comparisons))
    scale = _BAR_WIDTH / longest
    height = _ROW * len(comparisons) + 26
    x = _NAME_WIDTH + limit * scale
    drawn = []
    for place, one in enumerate(sorted(comparisons, key=lambda one: -one.distance_sd)):
        y = place * _ROW + 4
        length = one.distance_sd * scale
        drawn.append(f'<text x="{_NAME_WIDTH - 8}" y="{y + 14}" text-anchor="end">{escape(one.quantity)}</text>')
        look = "over" if one.differs else "bar"
        drawn.append(f'<rect class="{look}" x="{_NAME_WIDTH}" y="{y}" width="{length:.1f}" height="{_ROW - 8}"/>')
        drawn.append(f'<text x="{_NAME_WIDTH + length + 6:.1f}" y="{y + 14}">{one.distance_sd:.2f}</text>')
    drawn.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 20}"/>')
    drawn.append(f'<text class="tick" x="{x:.1f}" y="{height - 6}" text-anchor="middle">counts from {limit:.2f}</text>')
    width = _NAME_WIDTH + _BAR_WIDTH + 50
    said = "Wasserstein distance of each quantity in standard deviations"
    svg = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{said}" style="max-width:{width}px">'
    return f"<p>{said}; in red what has drifted.</p>{svg}{''.join(drawn)}</svg>"


def _figure(one: Comparison, tables: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    new, old = (values[np.isfinite(values)] for values in (numbers(table, one.quantity) for table in tables))
    # The middle 99 % of both: one odd photograph would press all others into one bin.
    low, high = np.quantile(np.concatenate([new, old]), (0.005, 0.995))
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, _BINS + 1)
    shares = [np.histogram(np.clip(values, low, high), edges)[0] / values.size for values in (old, new)]
    top = max(float(share.max()) for share in shares)
    parts = [_filled(shares[0], top), _outline(shares[1], top)]
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{_BASE}" y2="{_BASE}"/>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = _LEFT + share * (_WIDTH - 2 * _LEFT)
        value = f"{low + share * (high - low):.3g}"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_BASE + 16}" text-anchor="{anchor}">{value}</text>')
    mark = '<span class="bad">drifted</span>' if one.differs else "no drift"
    said = escape(f"{one.quantity}: {one.distance_sd:.2f} SD apart, D {one.ks:.2f}, p {one.p_value:.2g}")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return f"<figure>{svg}<figcaption><b>{said}</b>, {mark}</figcaption></figure>"


def _place(place: int, share: float, top: float) -> str:
    x = _LEFT + place * (_WIDTH - 2 * _LEFT) / _BINS
    return f"{x:.1f},{_BASE - share / top * (_BASE - 12):.1f}"


def _steps(shares: NDArray[np.float64], top: float) -> str:
    points = [_place(0, 0.0, top)]
    for place, share in enumerate(shares.tolist()):
        points += [_place(place, share, top), _place(place + 1, share, top)]
    return " ".join([*points, _place(len(shares), 0.0, top)])


def _filled(shares: NDArray[np.float64], top: float) -> str:
    return f'<polygon class="old" points="{_steps(shares, top)}"/>'


def _outline(shares: NDArray[np.float64], top: float) -> str:
    return f'<polyline class="new" points="{_steps(shares, top)}"/>'


def _labels_figure(labels: LabelMix) -> str:
    """Two bars for each label."""
    width = (_WIDTH - 2 * _LEFT) / max(1, len(labels.new))
    parts = []
    for place, label in enumerate(labels.new):
        x = _LEFT + place * width
        old, new = (share[label] * (_BASE - 12) for share in (labels.reference, labels.new))
        bar = f'width="{0.35 * width:.1f}"'
        parts.append(f'<rect class="old" x="{x + 0.1 * width:.1f}" y="{_BASE - old:.1f}" {bar} height="{old:.1f}"/>')
        parts.append(f'<rect class="new" x="{x + 0.5 * width:.1f}" y="{_BASE - new:.1f}" {bar} height="{new:.1f}"/>')
        middle = x + width / 2
        parts.append(
            f'<text class="tick" x="{middle:.1f}" y="{_BASE + 16}" text-anchor="middle">{escape(label)}</text>'
        )
    mark = '<span class="bad">drifted</span>' if labels.drifted else "no drift"
    said = f"labels: {labels.distance:.0%} would need another label, p {labels.p_value:.2g}"
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return f"<figure>{svg}<figcaption><b>{said}</b>, {mark}</figcaption></figure>"


def _table(comparisons: Sequence[Comparison], indices: dict[str, float | None]) -> str:
    heads = ("quantity", "n", "n ref.", "median", "median ref.", "distance SD", "chance SD", "KS D", "p", "PSI")
    rows = []
    for one in comparisons:
        index = indices[one.quantity]
        cells = (
            escape(one.quantity),
            str(one.n_first),
            str(one.n_second),
            f"{one.median_first:.4g}",
            f"{one.median_second:.4g}",
            f"{one.distance_sd:.2f}",
            f"{one.threshold_sd:.2f}",
            f"{one.ks:.2f}",
            f"{one.p_value:.2g}",
            "too few images" if index is None else f"{index:.2f}",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
