"""The last hours of a machine as one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from glaucoma.machine.store import Row

_SIZE_INCHES = (9.6, 5.6)
_DPI = 80
_MOST_POINTS = 2000
_SHORTEST_S = 600.0
"""The picture spans so much at the least."""
_COLOURS = ("#1f5fa8", "#c8551b", "#3a8a4d", "#7b4fa3", "#8a6d1d", "#8c8c8c")


def machine_png(host: str, gpus: Mapping[int, Sequence[Row]], machine: Sequence[Row]) -> bytes:
    """Load, memory, temperature and power of the GPUs, or of the machine where it has none, as a PNG of 768 x 448.

    Args:
        gpus: GPU -> its rows in order of time.
        machine: The machine's rows in order of time. A figure that is not known leaves a gap.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # without pyplot: no global state, any thread
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True).flat
    times = [row.at_s for rows in (*gpus.values(), machine) for row in rows]
    end = max(times, default=_SHORTEST_S)
    span = (datetime.fromtimestamp(min([*times, end - _SHORTEST_S]), UTC), datetime.fromtimestamp(end, UTC))
    figure.suptitle(f"{host}, UTC" + ("" if gpus else ": no GPU"), fontsize=11)
    if gpus:
        panels = (
            ("GPU load, %", "load_percent", 1.0),
            ("GPU memory used, GB", "memory_used_mb", 1000.0),
            ("Temperature, °C", "temperature_c", 1.0),
            ("Power, W", "power_w", 1.0),
        )
        for panel, (title, name, unit) in zip(axes, panels, strict=True):
            _panel(panel, title, {f"GPU {gpu}": (rows, name, unit) for gpu, rows in gpus.items()}, span)
    else:
        of_host = (
            ("Load, mean of a minute", "load_1min", 1.0),
            ("Memory left, GB", "memory_available_mb", 1000.0),
            ("Swap used, GB", "swap_used_mb", 1000.0),
            ("Free for the workspace, GB", "workspace_free_gb", 1.0),
        )
        for panel, (title, name, unit) in zip(axes, of_host, strict=True):
            _panel(panel, title, {"": (machine, name, unit)}, span)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _panel(
    axes: Any,
    title: str,
    lines: Mapping[str, tuple[Sequence[Row], str, float]],
    span: tuple[datetime, datetime],
) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    highest = 0.0
    for place, (label, (rows, name, unit)) in enumerate(lines.items()):
        shown = rows[:: math.ceil(len(rows) / _MOST_POINTS) or 1]
        y = [math.nan if row.figures[name] is None else row.figures[name] / unit for row in shown]  # type: ignore[operator]
        x = [datetime.fromtimestamp(row.at_s, UTC) for row in shown]
        marker = "o" if len(y) < 30 else ""  # a line of one point is not seen
        axes.plot(x, y, marker=marker, markersize=2, linewidth=1.2, color=_COLOURS[place % len(_COLOURS)], label=label)
        highest = max([highest, *(value for value in y if math.isfinite(value))])
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylim(0, 1.1 * highest or 1.0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(*span)
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if any(lines):
        axes.legend(fontsize=8, frameon=False)
