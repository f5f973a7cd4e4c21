"""Who is photographed, where, with what diagnosis: the whole cohort is planned before the first photograph is made.

Vertical cup-to-disc ratio (CDR) by label, drawn from a normal distribution and drawn again outside the bounds:

    normal    mean 0.42, SD 0.08, 0.20 to 0.54
    suspect   mean 0.58, SD 0.02, 0.54 to 0.62
    glaucoma  mean 0.72, SD 0.06, 0.62 to 0.90

So a vertical CDR of `DECISION_CDR` parts normal from glaucoma without an error, and no label is wrong. Site, camera,
vessels, pigment, crescent, eye and light are drawn independently of the label: only what lies inside the disc tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from glaucoma.schema import Eye, Label, Split
from glaucoma.synthetic.anatomy import Anatomy, Nerve, draw_anatomy, draw_complexion
from glaucoma.synthetic.cameras import CAMERAS, Camera, disc_crop
from glaucoma.synthetic.fundus import Photograph, render_fundus
from glaucoma.synthetic.settings import SyntheticLayout, SyntheticSettings

DECISION_CDR: Final = 0.58
ONE_SIDED_SHARE: Final = 0.125
"""Of the patients with glaucoma or suspected of it, those whose other eye is normal."""
TEST_SHARE: Final = 0.25
VAL_SHARE: Final = 0.25

_CDR: Final = {
    Label.NORMAL: (0.42, 0.08, 0.20, 0.54),
    Label.SUSPECT: (0.58, 0.02, 0.54, 0.62),
    Label.GLAUCOMA: (0.72, 0.06, 0.62, 0.90),
}
_NOTCH: Final = {Label.NORMAL: (0.0, 0.10), Label.SUSPECT: (0.1, 0.4), Label.GLAUCOMA: (0.3, 1.0)}
_PALLOR: Final = {Label.NORMAL: (0.05, 0.40), Label.SUSPECT: (0.2, 0.6), Label.GLAUCOMA: (0.45, 1.0)}
_COHORT_STREAM, _PATIENT_STREAM, _PHOTOGRAPH_STREAM = 0, 1, 2
"""Numbers that keep the random streams of one seed apart."""


@dataclass(frozen=True)
class Sitting:
    """One photograph before it is made."""

    patient: int
    """Counted from 1."""
    eye: Eye
    label: Label
    site: int
    """Index into `CAMERAS`."""
    split: Split
    """Meant only where the layout gives splits."""
    nerve: Nerve

    @property
    def patient_id(self) -> str:
        return f"P{self.patient:04d}"

    @property
    def camera(self) -> Camera:
        return CAMERAS[self.site]


def plan_cohort(settings: SyntheticSettings) -> list[Sitting]:
    """Every photograph of the archive, two for each patient, right eye first, in the order of patients."""
    rng = np.random.default_rng([settings.seed, _COHORT_STREAM])
    labels = _patient_labels(rng, settings)
    sites = rng.integers(0, settings.sites, len(labels))
    splits = _patient_splits(rng, labels)
    if settings.layout is SyntheticLayout.REFUGE:  # one camera for training, another for validation and test
        sites = np.array([0 if split is Split.TRAIN else min(1, settings.sites - 1) for split in splits])
    sittings = []
    for index, label in enumerate(labels):
        spared = Eye.OD if rng.random() < 0.5 else Eye.OS
        one_sided = label is not Label.NORMAL and rng.random() < ONE_SIDED_SHARE
        for eye in (Eye.OD, Eye.OS):
            found = Label.NORMAL if one_sided and eye is spared else label
            sittings.append(Sitting(index + 1, eye, found, int(sites[index]), splits[index], draw_nerve(rng, found)))
    return sittings


def draw_nerve(rng: np.random.Generator, label: Label) -> Nerve:
    """An optic nerve head with this diagnosis; see the table at the top of this module."""
    mean, sd, low, high = _CDR[label]
    cdr = rng.normal(mean, sd)
    while not low <= cdr <= high:
        cdr = rng.normal(mean, sd)
    return Nerve(float(cdr), notch=float(rng.uniform(*_NOTCH[label])), pallor=float(rng.uniform(*_PALLOR[label])))


def take_photograph(sitting: Sitting, settings: SyntheticSettings) -> Photograph:
    """Makes one photograph; independent of all the others, so in any order and on any thread."""
    complexion = draw_complexion(np.random.default_rng([settings.seed, _PATIENT_STREAM, sitting.patient]))
    is_left = int(sitting.eye is Eye.OS)
    rng = np.random.default_rng([settings.seed, _PHOTOGRAPH_STREAM, sitting.patient, is_left])
    anatomy = draw_anatomy(rng, sitting.eye, complexion)
    camera = sitting.camera
    if settings.layout is SyntheticLayout.ACRIMA:
        camera = _crop_of(rng, camera, anatomy)
    return render_fundus(rng, camera, anatomy, sitting.nerve, settings.photo_height_px)


def _crop_of(rng: np.random.Generator, camera: Camera, anatomy: Anatomy) -> Camera:
    """About one and a half disc heights around the disc, as the camera's own resolution gives them, and enlarged."""
    field_deg = 1.55 * float(anatomy.disc_radii_deg.max()) * 2 * rng.uniform(0.9, 1.15)
    return disc_crop(camera, field_deg, relative_height=camera.relative_height * rng.uniform(0.42, 0.6))


def _patient_labels(rng: np.random.Generator, settings: SyntheticSettings) -> list[Label]:
    """A label for each patient, in random order; the counts are the shares, rounded."""
    ill = round(settings.patients * settings.glaucoma_share)
    suspect = min(round(settings.patients * settings.suspect_share), settings.patients - ill)
    healthy = settings.patients - ill - suspect
    labels = [Label.GLAUCOMA] * ill + [Label.SUSPECT] * suspect + [Label.NORMAL] * healthy
    return [labels[i] for i in rng.permutation(len(labels))]


def _patient_splits(rng: np.random.Generator, labels: Sequence[Label]) -> list[Split]:
    """Half of the patients of each label to training, a quarter each to validation and test."""
    splits = [Split.TRAIN] * len(labels)
    for label in Label:
        members = rng.permutation([i for i, own in enumerate(labels) if own is label])
        for_test, for_val = round(len(members) * TEST_SHARE), round(len(members) * VAL_SHARE)
        for place, index in enumerate(members):
            if place < for_test:
                splits[index] = Split.TEST
            elif place < for_test + for_val:
                splits[index] = Split.VAL
    return splits
