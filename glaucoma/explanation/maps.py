"""Maps, relevance and controls of a classifier, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glaucoma.explanation.cam import Activations, activations, glaucoma_evidence
from glaucoma.explanation.controls import elsewhere, hide
from glaucoma.explanation.dri import QUADRANTS, REGIONS, Relevance, relevance
from glaucoma.explanation.settings import CamMethod, ExplainedClass, ExplainSettings
from glaucoma.models.fusion import logits_of
from glaucoma.schema import Column, Label, MaskValue, StructureState
from glaucoma.training.data import PreparedData, clinical_input, model_input
from glaucoma.training.spec import ExperimentSpec

_MEASURES = ("lift", "dri_of_ceiling", "ceiling", "disc_area_share", "rank_accuracy", "pointing_hit", "hot_iou")
OTHER = {CamMethod.GRAD_CAM: CamMethod.GRAD_CAM_PP, CamMethod.GRAD_CAM_PP: CamMethod.GRAD_CAM}


@dataclass(frozen=True)
class ImageMap:
    """One image: its map, and a row of `dri.csv`."""

    index: int
    """Row of the prepared arrays."""
    heat: NDArray[np.float32]
    """(h, w), signed."""
    row: dict[str, Any]
    relevance: Relevance | None = field(default=None)

    @property
    def outcome(self) -> str:
        """What became of the image at a logit of 0: found, missed, false alarm, or right about a normal eye."""
        truth, called = self.row["label"] == Label.GLAUCOMA, self.row["logit"] > 0
        return {(True, True): "found", (True, False): "missed", (False, True): "false alarm"}.get(
            (truth, called), "rightly normal"
        )


@dataclass(frozen=True)
class Explained:
    """A model, and the data that it is explained on."""

    model: nn.Module
    layer: nn.Module
    spec: ExperimentSpec
    data: PreparedData
    fields: NDArray[np.uint8]
    settings: ExplainSettings
    device: str
    control: tuple[nn.Module, nn.Module] | None = None
    """An untrained network of the same kind, and its layer."""

    def maps(self, rows: NDArray[np.int64]) -> Iterator[ImageMap]:
        """The maps of the images in these rows, a batch at a time."""
        for start in range(0, len(rows), self.settings.batch_size):
            chosen = rows[start : start + self.settings.batch_size]
            inputs = model_input(self.data.images[chosen], self.spec).to(self.device)
            yield from self._batch(chosen, inputs, self._clinical(chosen))

    def _clinical(self, chosen: NDArray[np.int64]) -> torch.Tensor | None:
        clinical = clinical_input(self.data.manifest, chosen, self.spec)
        return None if clinical is None else clinical.to(self.device)

    def _batch(
        self, chosen: NDArray[np.int64], inputs: torch.Tensor, clinical: torch.Tensor | None
    ) -> Iterator[ImageMap]:
        found = self._activations(self.model, self.layer, inputs, clinical)
        heats = self._heats(found)
        control = self._heats(self._activations(*self.control, inputs, clinical)) if self.control else None
        logits = found.output.flatten().double().numpy()
        for place, index in enumerate(chosen):
            heat = {method: maps[place] for method, maps in heats.items()}
            row = self._row(int(index), float(logits[place]))
            known: Relevance | None = None
            if self.has_disc(int(index)):
                known = self._relevance(heat[self.settings.method], int(index))
                row.update(_measures(known))
                row[f"dri_{OTHER[self.settings.method]}"] = self._relevance(
                    heat[OTHER[self.settings.method]], int(index)
                ).dri
                if control is not None:
                    row["dri_untrained"] = self._relevance(control[self.settings.method][place], int(index)).dri
                    row.update(self._hidden(int(index), row["logit"]))
            else:
                row["reason"] = "no disc mask"
            yield ImageMap(int(index), heat[self.settings.method], row, known)

    def _activations(
        self, model: nn.Module, layer: nn.Module, inputs: torch.Tensor, clinical: torch.Tensor | None
    ) -> Activations:
        always = self.settings.explained_class is ExplainedClass.GLAUCOMA
        sign = torch.ones(len(inputs)) if always else None
        return activations(model, layer, inputs, glaucoma_evidence(sign), clinical)

    @staticmethod
    def _heats(found: Activations) -> dict[CamMethod, NDArray[np.float32]]:
        return {method: found.heat(method).numpy() for method in CamMethod}

    def _relevance(self, heat: NDArray[np.float32], index: int) -> Relevance:
        eye = str(self.data.manifest[Column.EYE].iloc[index])
        return relevance(heat, self.data.masks[index], self.fields[index] > 0, eye)

    def has_disc(self, index: int) -> bool:
        """True where a reader marked a disc."""
        entry = self.data.manifest.iloc[index]
        return bool(entry[Column.MASK] != "" and entry[Column.DISC_STATE] == str(StructureState.PRESENT))

    def explained_class(self, logit: float) -> Label:
        """Whose evidence the image's map shows."""
        always = self.settings.explained_class is ExplainedClass.GLAUCOMA
        return Label.GLAUCOMA if always or logit > 0 else Label.NORMAL

    def _row(self, index: int, logit: float) -> dict[str, Any]:
        """A row of `dri.csv` with nothing measured yet: each image has every column."""
        entry = self.data.manifest.iloc[index]
        names = (Column.IMAGE_ID, Column.GROUP, Column.SITE, Column.LABEL)
        measured = ["dri", *(f"{name}_share" for name in REGIONS), *(f"{name}_rim_share" for name in QUADRANTS)]
        measured += [*_MEASURES, f"dri_{OTHER[self.settings.method]}", "dri_untrained"]
        measured += ["evidence_lost_disc", "evidence_lost_elsewhere"]
        return {
            **{str(name): str(entry[name]) for name in names},
            "logit": logit,
            "probability": float(1 / (1 + np.exp(-np.clip(logit, -500, 500)))),
            "explained_class": str(self.explained_class(logit)),
            **dict.fromkeys(measured, float("nan")),
            "reason": "",
        }

    def _hidden(self, index: int, logit: float) -> dict[str, float]:
        """By how much the evidence for the explained class falls when the disc, or a place elsewhere, is hidden."""
        image, inside = np.asarray(self.data.images[index]), self.fields[index] > 0
        disc = (self.data.masks[index] >= MaskValue.DISC) & inside
        if not disc.any():
            return {}
        other = elsewhere(disc, inside)
        places = [disc] if other is None else [disc, other]
        inputs = model_input(np.stack([hide(image, place, inside) for place in places]), self.spec).to(self.device)
        clinical = self._clinical(np.repeat(np.int64(index), len(places)))
        with torch.inference_mode():
            hidden = logits_of(self.model, inputs, clinical).float().flatten().cpu().tolist()
        sign = 1 if self.explained_class(logit) is Label.GLAUCOMA else -1
        names = ("evidence_lost_disc", "evidence_lost_elsewhere")
        return {name: sign * (logit - value) for name, value in zip(names, hidden, strict=False)}


def choose_rows(data: PreparedData, rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of `rows`: images with a disc mask first, each label by its share, drawn by seed, in order."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng(seed)
    manifest = data.manifest.iloc[rows]
    masked = ((manifest[Column.MASK] != "") & (manifest[Column.DISC_STATE] == str(StructureState.PRESENT))).to_numpy()
    labels = manifest[Column.LABEL].to_numpy()
    queue = rng.permutation(len(rows))
    # each image's place among those of its label, as a share: sorting by it keeps the labels' proportions
    rank = np.empty(len(rows))
    for label in np.unique(labels):
        mine = queue[labels[queue] == label]
        mine = mine[np.argsort(~masked[mine], kind="stable")]
        rank[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.sort(rows[np.argsort(rank, kind="stable")[:most]])


def choose_shown(maps: list[ImageMap], most: int) -> list[ImageMap]:
    """At most `most` images to draw: found, missed, false alarm, rightly normal in turn, the clearest of each first."""
    queues = {
        outcome: sorted((m for m in maps if m.outcome == outcome), key=lambda m: -abs(m.row["logit"]))
        for outcome in ("found", "missed", "false alarm", "rightly normal")
    }
    chosen: list[ImageMap] = []
    while len(chosen) < most and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < most:
                chosen.append(queue.pop(0))
    return chosen


def _measures(found: Relevance) -> dict[str, Any]:
    return {
        "dri": found.dri,
        **{f"{name}_share": getattr(found, name) for name in REGIONS},
        **{f"{name}_rim_share": share for name, share in found.quadrants.items()},
        **{name: getattr(found, name) for name in _MEASURES},
        "reason": found.reason or "",
    }
