"""Pictures for people: a photograph, the same under a heat map, outlines of disc and cup, and a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from glaucoma.evaluation.segmentation import Mask
from glaucoma.explanation.dri import enlarge

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

BACKGROUND: Colour = (17, 19, 23)
TEXT: Colour = (240, 241, 243)
FAINT: Colour = (160, 165, 172)
DISC: Colour = (255, 255, 255)
CUP: Colour = (120, 255, 214)
MODEL_DISC: Colour = (77, 196, 255)
MODEL_CUP: Colour = (255, 221, 64)

_SUPERSAMPLED = 2
_MARGIN, _GAP = 14, 10
_HEADER, _CAPTION, _LEGEND = 46, 20, 30
_MOST_OPAQUE = 0.72


@dataclass(frozen=True)
class View:
    """A square part of an image, in its pixels."""

    top: int
    left: int
    side: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True)
class Outline:
    """A structure's border."""

    mask: Mask
    colour: Colour
    label: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One square of the picture.

    Args:
        image: (S, S, 3) uint8 RGB.
        heat: (h, w) float, shown from 0 (clear) to `most`; None for a plain photograph.
        most: What has the strongest colour; None for the maximum of `heat`.
        shown: (S, S), outside it no heat is drawn: the field of view.
        view: The part of the image that is drawn; None for all of it.
    """

    image: Picture
    caption: str
    _: KW_ONLY
    heat: NDArray[Any] | None = None
    most: float | None = None
    shown: Mask | None = None
    outlines: Sequence[Outline] = field(default_factory=tuple)
    view: View | None = None


def draw(
    panels: Sequence[Panel], title: str, detail: str, *, scale: str = "relevance: none to most", panel_px: int = 320
) -> Picture:
    """The panels side by side under a title and a line of detail, over one legend; (H, W, 3) uint8 RGB.

    Args:
        scale: What the colours stand for, from the darkest to the lightest.
    """
    width = 2 * _MARGIN + len(panels) * panel_px + (len(panels) - 1) * _GAP
    height = _HEADER + _CAPTION + panel_px + _LEGEND + _MARGIN
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    _write(pen, (_MARGIN, 8), title, 15, TEXT, width - 2 * _MARGIN)
    _write(pen, (_MARGIN, 28), detail, 12, FAINT, width - 2 * _MARGIN)
    for place, panel in enumerate(panels):
        left = _MARGIN + place * (panel_px + _GAP)
        _write(pen, (left, _HEADER + 3), panel.caption, 11, FAINT, panel_px)
        canvas.paste(Image.fromarray(paint(panel, panel_px)), (left, _HEADER + _CAPTION))
    _legend(pen, panels, scale, _HEADER + _CAPTION + panel_px + 10, width)
    return np.asarray(canvas)


def view_around(mask: Mask, margin: float = 0.0) -> View | None:
    """The smallest square that holds `mask` and `margin` times its side more all round, kept inside the image.

    None where the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = min(max(round(extent * (1 + 2 * margin)), 8), *mask.shape)
    middle = ((rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2)
    top, left = (
        int(np.clip(round(c - side / 2), 0, length - side)) for c, length in zip(middle, mask.shape, strict=True)
    )
    return View(top, left, int(side))


def paint(panel: Panel, side_px: int) -> Picture:
    """One panel, (side_px, side_px, 3) uint8; drawn larger and scaled down, so that lines are smooth."""
    whole = panel.image.shape[0]
    view = panel.view or View(0, 0, whole)
    side = side_px * _SUPERSAMPLED
    method = cv2.INTER_AREA if view.side > side else cv2.INTER_CUBIC
    picture = cv2.resize(np.ascontiguousarray(view.of(panel.image)), (side, side), interpolation=method)
    if panel.heat is not None:
        level = opacity_level(panel.heat, (whole, panel.image.shape[1]), panel.shown, panel.most)
        shown = cv2.resize(np.ascontiguousarray(view.of(level)), (side, side), interpolation=cv2.INTER_LINEAR)
        picture = warm(picture, shown)
    for outline in panel.outlines:
        _trace(picture, view.of(outline.mask), outline)
    return np.asarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def opacity_level(
    heat: NDArray[Any], shape: tuple[int, int], shown: Mask | None = None, most: float | None = None
) -> NDArray[np.float32]:
    """`heat` enlarged to `shape` and cut to `shown`, over `most` or its maximum: 0 to 1; 0 where not positive."""
    positive = np.maximum(np.nan_to_num(np.asarray(heat, dtype=np.float64)), 0)
    level = enlarge(positive, shape).astype(np.float32)
    if shown is not None:
        level = level * shown
    top = float(level.max()) if most is None else most
    return np.minimum(level / top, 1) if top > 0 else level


def warm(picture: Picture, level: NDArray[np.float32]) -> Picture:
    """`picture` (S, S, 3) under `level` (S, S) from 0 to 1: colour and opacity rise together, so 0 covers nothing."""
    colour = heat_colours()[(np.clip(level, 0, 1) * 255).astype(np.uint8)].astype(np.float32)
    opacity = (_MOST_OPAQUE * np.clip(level / 0.75, 0, 1) ** 0.9)[..., None]
    mixed: Picture = (picture * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    return mixed


def heat_colours() -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB, from deep blue over teal to bright yellow: apart from the red of a retina at every level."""
    return np.ascontiguousarray(
        cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    )


def encode_png(picture: Picture, max_bytes: int) -> bytes:
    """`picture` as PNG of at most `max_bytes`: in full colour if that fits, else in 256 dithered colours, else smaller.

    Raises:
        ValueError: It does not fit at a tenth of its size either.
    """
    image = Image.fromarray(picture)
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        scaled = image if scale == 1.0 else image.resize(size, Image.Resampling.LANCZOS)
        for make in (lambda one: one, _reduced):
            content = io.BytesIO()
            make(scaled).save(content, format="PNG")
            if content.tell() <= max_bytes:
                return content.getvalue()
    raise ValueError(f"a picture of {picture.shape} does not fit into {max_bytes} bytes")


def _reduced(image: Image.Image) -> Image.Image:
    """`image` in 256 colours, with errors passed on to the neighbouring pixels.

    Most are chosen from the picture; the legend's own colours, which fill too little of it to be chosen, are fixed.
    """
    fixed = [BACKGROUND, TEXT, FAINT, DISC, CUP, MODEL_DISC, MODEL_CUP, (0, 0, 0), *heat_colours()[::8].tolist()]
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.NEAREST)
    chosen = half.quantize(256 - len(fixed), method=Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or []
    colours = [int(value) for colour in fixed for value in colour] + chosen[: 3 * (256 - len(fixed))]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _trace(picture: Picture, mask: Mask, outline: Outline) -> None:
    """Draws the border of a structure in place: a dark line below, the colour on top."""
    side = picture.shape[0]
    soft = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(soft, (0, 0), 1.5 * side / mask.shape[0])
    borders, _ = cv2.findContours((soft >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for border in borders:
        lines = _dashes(border) if outline.dashed else [border]
        closed = not outline.dashed
        cv2.polylines(picture, lines, closed, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.polylines(picture, lines, closed, outline.colour, 2, cv2.LINE_AA)


def _dashes(border: NDArray[Any], length: int = 14) -> list[NDArray[Any]]:
    return [border[start : start + length] for start in range(0, len(border), 2 * length) if start < len(border)]


def _legend(pen: ImageDraw.ImageDraw, panels: Sequence[Panel], scale: str, top: int, width: int) -> None:
    """Each outline once, in the order of the panels; the colour bar at the right where a heat map is shown."""
    left = _MARGIN
    known: set[str] = set()
    for outline in (o for panel in panels for o in panel.outlines):
        if outline.label in known:
            continue
        known.add(outline.label)
        for start in (0, 10) if outline.dashed else (0,):
            end = start + 6 if outline.dashed else 16
            pen.line([(left + start, top + 8), (left + end, top + 8)], fill=outline.colour, width=3)
        pen.text((left + 22, top), outline.label, font=_font(12), fill=TEXT)
        left += 22 + round(pen.textlength(outline.label, font=_font(12))) + 18
    if any(panel.heat is not None for panel in panels):
        _colour_bar(pen, scale, top, width)


def _colour_bar(pen: ImageDraw.ImageDraw, words: str, top: int, width: int) -> None:
    length = 90
    right = width - _MARGIN
    colours = heat_colours()
    for x in range(length):
        colour = tuple(int(c) for c in colours[round(x / (length - 1) * 255)])
        pen.line([(right - length + x, top + 3), (right - length + x, top + 13)], fill=colour)
    place = right - length - 8 - round(pen.textlength(words, font=_font(12)))
    pen.text((place, top), words, font=_font(12), fill=TEXT)


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, size: int, colour: Colour, room_px: int
) -> None:
    """One line of text, cut off with an ellipsis where it would not fit."""
    font = _font(size)
    if pen.textlength(words, font=font) > room_px:
        while words and pen.textlength(words + "...", font=font) > room_px:
            words = words[:-1]
        words += "..."
    pen.text(place, words, font=font, fill=colour)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)
