"""A training while it runs: its epochs from the lines of progress, as rows of a table and as one picture of curves."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glaucoma.training.progress_log import TrainingProgress

MAX_PICTURE_BYTES = 200_000
_SIZE_INCHES = (9.6, 5.6)
_DPI = 80
_COLOURS = ("#1f5fa8", "#c8551b", "#3a8a4d", "#7b4fa3", "#8a6d1d", "#8c8c8c")


def epochs_of(lines: Iterable[TrainingProgress]) -> list[TrainingProgress]:
    """The line of each epoch's end, as the training stands now, in order.

    A training that began anew has lost its earlier epochs; one that resumed has lost those after its checkpoint, which
    it does again.
    """
    kept: dict[int, TrainingProgress] = {}
    for line in lines:
        if line.event == "start":
            kept.clear()
        elif line.event == "resume":
            kept = {epoch: one for epoch, one in kept.items() if one.step <= line.step}
        elif line.event is None and line.val is not None:
            kept[line.epoch] = line
    return [kept[epoch] for epoch in sorted(kept)]


def epoch_row(line: TrainingProgress) -> dict[str, Any]:
    """One epoch for a table: four digits; a dash where there is no number."""
    numbers = {
        "loss": line.loss,
        **{f"validation {name}": value for name, value in (line.val or {}).items()},
        "learning rate": line.lr,
        "images/s": line.images_per_s,
        "GPU memory MB": line.gpu_memory_mb,
        "GPU busy %": line.gpu_utilization_percent,
        "waited for data %": None if line.wait_share is None else 100 * line.wait_share,
    }
    return {"epoch": line.epoch, **{name: _number(value) for name, value in numbers.items()}}


def curves_png(name: str, epochs: Sequence[TrainingProgress]) -> bytes:
    """Losses, validation scores, learning rate and speed by epoch, as a PNG of 768 x 448 pixels.

    Args:
        name: The experiment, for the title.
        epochs: As `epochs_of` gives them. An undefined number leaves a gap.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # without pyplot: no global state, any thread
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex=True)
    x = [line.epoch for line in epochs]
    of = epochs[-1].epochs if epochs else 0
    figure.suptitle(f"{name}: {len(x)} of {of} epochs" if of else name, fontsize=11)
    val_loss = [(line.val or {}).get("loss") for line in epochs]
    _panel(axes[0][0], "Loss", x, {"training": [line.loss for line in epochs], "validation": val_loss})
    _panel(axes[0][1], "Validation scores", x, _scores(epochs))
    _panel(axes[1][0], "Learning rate", x, {"": [line.lr for line in epochs]})
    _panel(axes[1][1], "Images per second", x, {"": [line.images_per_s for line in epochs]}, from_zero=True)
    for panel in axes[1]:
        panel.set_xlabel("Epoch", fontsize=9)
        panel.set_xlim(0.5, max(of, 1) + 0.5)
        panel.xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def png_uri(content: bytes) -> str:
    """A PNG as a `data:` address, which a page shows without another request.

    Raises:
        ValueError: More than `MAX_PICTURE_BYTES`: it would burden the server's database.
    """
    if len(content) > MAX_PICTURE_BYTES:
        raise ValueError(f"a picture of {len(content)} bytes, more than {MAX_PICTURE_BYTES}")
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _scores(epochs: Sequence[TrainingProgress]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for line in epochs for name in (line.val or {}) if name != "loss")
    return {name: [(line.val or {}).get(name) for line in epochs] for name in names}


def _panel(
    axes: Any, title: str, x: Sequence[int], lines: Mapping[str, Sequence[float | None]], *, from_zero: bool = False
) -> None:
    for place, (name, values) in enumerate(lines.items()):
        y = [math.nan if value is None else value for value in values]
        marker = "o" if sum(map(math.isfinite, y)) < 30 else ""  # a line of one point is not seen
        axes.plot(x, y, marker=marker, markersize=3, linewidth=1.4, color=_COLOURS[place % len(_COLOURS)], label=name)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    known = [value for values in lines.values() for value in values if value is not None]
    if from_zero and any(known):
        axes.set_ylim(0, 1.1 * max(known))
    if any(lines):
        axes.legend(fontsize=8, frameon=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
