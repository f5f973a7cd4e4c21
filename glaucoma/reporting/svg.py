"""A small drawing board for charts as inline SVG: sharp on paper, small, coloured by the page's own style sheet.

Colours are classes (`c0` to `c7`, `axis`, `soft`), so that the same chart serves a light page, a dark one and print.
All text is escaped here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Point = tuple[float, float]


def tag(name: str, content: str = "", **attributes: object) -> Markup:
    """An element; attribute names lose a trailing `_`, and other `_` become `-`."""
    parts = [f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()]
    return Markup(f"<{name}{''.join(parts)}>{content}</{name}>")  # noqa: S704 - every part is escaped


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover `low` to `high`, about as many as asked."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


@dataclass
class Chart:
    """A chart with two linear axes; everything is given in the data's own numbers.

    Args:
        label: What the chart shows, in a sentence for people who do not see it.
    """

    label: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 420
    height: float = 320
    left: float = 46
    right: float = 12
    top: float = 14
    bottom: float = 42
    parts: list[Markup] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Where a point of the data lies on the drawing."""
        share_x = (x - self.x[0]) / (self.x[1] - self.x[0] or 1)
        share_y = (y - self.y[0]) / (self.y[1] - self.y[0] or 1)
        return (
            self.left + share_x * (self.width - self.left - self.right),
            self.height - self.bottom - share_y * (self.height - self.top - self.bottom),
        )

    def axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_title: str, y_title: str) -> None:
        """Grid lines, numbers and titles; no title on the left where it is empty."""
        for value in y_ticks:
            (x0, y), (x1, _) = self.at(self.x[0], value), self.at(self.x[1], value)
            self.parts.append(tag("line", class_="grid", x1=x0, x2=x1, y1=y, y2=y))
            self.parts.append(tag("text", escape(number(value)), class_="tick", x=x0 - 7, y=y + 4, text_anchor="end"))
        base = self.height - self.bottom
        for value in x_ticks:
            x, _ = self.at(value, self.y[0])
            self.parts.append(tag("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
            self.parts.append(tag("text", escape(number(value)), class_="tick", x=x, y=base + 17, text_anchor="middle"))
        self.parts.append(tag("line", class_="axis", x1=self.left, x2=self.width - self.right, y1=base, y2=base))
        middle = (self.left + self.width - self.right) / 2
        self.parts.append(
            tag("text", escape(x_title), class_="title", x=middle, y=self.height - 6, text_anchor="middle")
        )
        if not y_title:
            return
        up = (self.top + base) / 2
        turned = f"rotate(-90 12 {up:.0f})"
        self.parts.append(
            tag("text", escape(y_title), class_="title", x=12.0, y=up, text_anchor="middle", transform=turned)
        )

    def line(self, points: Iterable[Point], class_: str, title: str = "") -> None:
        """A line through the points that are finite; broken where one is not."""
        pieces: list[str] = []
        pen = "M"
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            px, py = self.at(x, y)
            pieces.append(f"{pen}{_short(px)} {_short(py)}")
            pen = "L"
        if pieces:
            self.parts.append(tag("path", _title(title), class_=f"line {class_}", d="".join(pieces)))

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], class_: str) -> None:
        """The area between two lines."""
        up = [self.at(x, y) for x, y in zip(xs, highs, strict=True)]
        down = [self.at(x, y) for x, y in zip(xs, lows, strict=True)]
        outline = "L".join(f"{_short(x)} {_short(y)}" for x, y in [*up, *reversed(down)])
        self.parts.append(tag("path", class_=f"band {class_}", d=f"M{outline}Z"))

    def dot(self, x: float, y: float, class_: str, radius: float = 4.0, title: str = "") -> None:
        px, py = self.at(x, y)
        self.parts.append(tag("circle", _title(title), class_=f"dot {class_}", cx=px, cy=py, r=radius))

    def text(self, x: float, y: float, words: str, anchor: str = "start", dx: float = 0, dy: float = 0) -> None:
        px, py = self.at(x, y)
        self.parts.append(tag("text", escape(words), class_="note", x=px + dx, y=py + dy, text_anchor=anchor))

    def render(self, class_: str = "chart") -> Markup:
        """The whole drawing."""
        body = Markup("").join([_title(self.label), *self.parts])
        view = f"0 0 {self.width:g} {self.height:g}"
        return tag("svg", body, class_=class_, viewBox=view, role="img", xmlns="http://www.w3.org/2000/svg")


def _title(words: str) -> Markup:
    return tag("title", escape(words)) if words else Markup("")


def number(value: float) -> str:
    """A tick's number: no needless digits."""
    return f"{value:.4g}"
