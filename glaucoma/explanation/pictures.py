"""The overlays of an explanation: what stands in each picture, and the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glaucoma.evaluation.cup_disc_ratio import predicted_structures, vertical_cdr
from glaucoma.evaluation.segmentation import Mask, dice_score
from glaucoma.explanation.maps import Explained, ImageMap
from glaucoma.explanation.overlay import (
    CUP,
    DISC,
    MODEL_CUP,
    MODEL_DISC,
    Outline,
    Panel,
    Picture,
    draw,
    encode_png,
    view_around,
)
from glaucoma.explanation.result import OverlayEntry
from glaucoma.explanation.settings import CamMethod, ExplainSettings
from glaucoma.provenance import write_bytes
from glaucoma.schema import Column, Label, MaskValue

_METHODS = {CamMethod.GRAD_CAM: "Grad-CAM", CamMethod.GRAD_CAM_PP: "Grad-CAM++"}
_CLOSE_UP = 0.9
"""A close-up shows the disc and nine tenths of its size more for a map, a third of that for outlines, on every side."""


def draw_classification(explained: Explained, shown: ImageMap, place: int, folder: Path) -> OverlayEntry:
    """A classifier's overlay: the photograph, the map on it, and the map close up where the disc is known."""
    row, index, settings = shown.row, shown.index, explained.settings
    image, field = np.asarray(explained.data.images[index]), explained.fields[index] > 0
    outlines: tuple[Outline, ...] = ()
    disc: Mask | None = None
    if explained.has_disc(index):
        mask = explained.data.masks[index]
        disc = mask >= MaskValue.DISC
        outlines = (Outline(disc, DISC, "disc, by a reader"), Outline(mask == MaskValue.CUP, CUP, "cup, by a reader"))
    whole, heat = view_around(field), shown.heat
    evidence = (
        f"evidence for {row['explained_class']} ({_METHODS[settings.method]}, {heat.shape[0]} x {heat.shape[1]} map)"
    )
    panels = [
        Panel(image, "photograph, prepared", outlines=outlines, view=whole),
        Panel(image, evidence, heat=heat, shown=field, outlines=outlines, view=whole),
    ]
    if disc is not None:
        close = view_around(disc, _CLOSE_UP)
        panels.append(
            Panel(image, "the same, close to the disc", heat=heat, shown=field, outlines=outlines, view=close)
        )
    called = "glaucoma" if row["logit"] > 0 else "normal"
    title = f"{row[Column.IMAGE_ID]}:  {row[Column.LABEL]}, called {called}"
    title += (
        "" if row[Column.LABEL] == called or row[Column.LABEL] not in (Label.NORMAL, Label.GLAUCOMA) else "  (wrong)"
    )
    detail = f"probability of glaucoma {row['probability']:.2f}"
    if shown.relevance is not None and shown.relevance.reason is None:
        detail += f"  |  {shown.relevance.dri:.0%} of the relevance on the disc (at most {shown.relevance.ceiling:.0%} "
        detail += f"with this map, {shown.relevance.disc_area_share:.1%} by chance)"
    elif row["reason"]:
        detail += f"  |  no share on the disc: {row['reason']}"
    picture = draw(panels, title, detail, panel_px=settings.panel_px)
    return _save(
        picture,
        folder,
        place,
        OverlayEntry(file="", image_id=str(row["image_id"]), title=title, detail=detail),
        settings,
    )


@dataclass(frozen=True)
class Segmented:
    """One image as a segmenter sees it."""

    row: dict[str, Any]
    """Its row of the manifest."""
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    """(S, S) of `MaskValue`."""
    field: Mask
    probability: NDArray[np.float32]
    """(2, S, S): the whole disc and the cup."""


def draw_segmentation(one: Segmented, place: int, folder: Path, settings: ExplainSettings) -> OverlayEntry:
    """A segmenter's overlay: the photograph, and close to the disc both outlines and the probability of the cup."""
    row, image, field = one.row, one.image, one.field
    disc, cup = predicted_structures(one.probability)
    real = (one.truth >= MaskValue.DISC, one.truth == MaskValue.CUP)
    outlines = (
        Outline(real[0], DISC, "disc, by a reader"),
        Outline(real[1], CUP, "cup, by a reader"),
        Outline(disc, MODEL_DISC, "disc, by the model", dashed=True),
        Outline(cup, MODEL_CUP, "cup, by the model", dashed=True),
    )
    whole, close = view_around(field), view_around(real[0] | disc, _CLOSE_UP / 3)
    panels = [
        Panel(image, "photograph, prepared", view=whole),
        Panel(image, "reader and model, close to the disc", outlines=outlines, view=close),
        Panel(
            image,
            "the model's probability of the cup",
            heat=one.probability[1],
            most=1.0,
            shown=field,
            outlines=outlines[1:2],
            view=close,
        ),
    ]
    dice = [dice_score(disc, real[0]), dice_score(cup, real[1])]
    ratios = [vertical_cdr(disc, cup), vertical_cdr(*real)]
    detail = "Dice: " + ", ".join(f"{name} {_number(v)}" for name, v in zip(("disc", "cup"), dice, strict=True))
    detail += f"  |  vertical cup-to-disc ratio: model {_number(ratios[0])}, reader {_number(ratios[1])}"
    title = f"{row[Column.IMAGE_ID]}:  {row[Column.LABEL]}"
    picture = draw(panels, title, detail, scale="probability: 0 to 1", panel_px=settings.panel_px)
    return _save(
        picture,
        folder,
        place,
        OverlayEntry(file="", image_id=str(row["image_id"]), title=title, detail=detail),
        settings,
    )


def _save(picture: Picture, folder: Path, place: int, entry: OverlayEntry, settings: ExplainSettings) -> OverlayEntry:
    name = f"{place:02d}-{entry.image_id}.png"
    write_bytes(folder / name, encode_png(picture, settings.max_overlay_kb * 1000))
    return entry.model_copy(update={"file": name})


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"
