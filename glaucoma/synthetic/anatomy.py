"""An eye's back as numbers: where things lie, how the disc and its cup are shaped.

Frame of all lengths: degrees of visual angle, the fovea at the origin, x towards the nose, y downwards: a right eye as
a photograph shows it. A left eye is the same, mirrored when it is photographed. Angles are in radians, 0 towards the
nose, a quarter turn downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glaucoma.errors import SettingsError
from glaucoma.schema import Eye
from glaucoma.synthetic.texture import FloatArray

_ANGLES = 360
_WIDEST_CUP = 0.95
"""Of the disc's radius in any direction: some rim is left everywhere."""


@dataclass(frozen=True)
class Anatomy:
    """One eye, as no illness of the optic nerve would change it."""

    eye: Eye
    disc_centre_deg: tuple[float, float]
    disc_radii_deg: FloatArray
    """Radius of the disc in 360 equal steps of angle, from nasal by inferior: float32 (360,)."""
    fovea_depth: float
    """How dark the macula is, 0 to 1."""
    pigment: float
    """Melanin of the fundus: -1 fair, 0 average, 1 dark."""
    tessellation: float
    """How far the choroid's vessels shine through, 0 to 1."""
    crescent: float
    """Peripapillary atrophy on the temporal side, 0 to 1."""
    youth: float
    """How much the nerve fibres and the fovea reflect, 0 to 1."""


@dataclass(frozen=True)
class Nerve:
    """What glaucoma changes, all of it inside the disc."""

    vertical_cdr: float
    """Height of the cup over height of the disc, 0.05 to 0.93."""
    notch: float
    """Loss of the inferior rim, 0 to 1."""
    pallor: float
    """How pale cup and rim are, 0 to 1."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.vertical_cdr <= 0.93 or not 0 <= self.notch <= 1 or not 0 <= self.pallor <= 1:
            raise SettingsError(
                f"{self} is no optic nerve head",
                expected="vertical_cdr from 0.05 to 0.93, notch and pallor from 0 to 1",
            )


@dataclass(frozen=True)
class Complexion:
    """What a person's two eyes share."""

    pigment: float
    tessellation: float
    youth: float
    disc_height_deg: float


def draw_complexion(rng: np.random.Generator) -> Complexion:
    """A person at random. Nothing here depends on the diagnosis."""
    pigment = float(np.clip(rng.normal(0, 0.45), -1, 1))
    return Complexion(
        pigment=pigment,
        tessellation=float(np.clip(rng.beta(1.3, 3) * (1 - 0.4 * pigment), 0, 1)),
        youth=float(rng.beta(1.5, 2)),
        disc_height_deg=float(np.clip(rng.normal(7.0, 0.45), 6.0, 8.2)),
    )


def draw_anatomy(rng: np.random.Generator, eye: Eye, complexion: Complexion) -> Anatomy:
    """One eye of such a person at random. Nothing here depends on the diagnosis."""
    height = complexion.disc_height_deg * float(rng.normal(1, 0.02))
    return Anatomy(
        eye=eye,
        disc_centre_deg=(float(rng.normal(15.6, 0.6)), float(rng.normal(-1.6, 0.6))),
        disc_radii_deg=_disc_radii(rng, height),
        fovea_depth=float(np.clip(rng.normal(0.65, 0.15), 0.3, 1.0)),
        pigment=complexion.pigment,
        tessellation=complexion.tessellation,
        crescent=float(rng.beta(1.2, 3)),
        youth=complexion.youth,
    )


def _disc_radii(rng: np.random.Generator, height_deg: float) -> FloatArray:
    """An upright oval, a little tilted and uneven, exactly `height_deg` high."""
    angles = _angles()
    aspect, tilt = float(np.clip(rng.normal(0.91, 0.035), 0.8, 1.0)), rng.normal(0, 0.14)
    along, across = np.sin(angles - tilt), np.cos(angles - tilt) / aspect
    radii = _uneven(rng, angles, 0.012) / np.sqrt(along**2 + across**2)
    scaled: FloatArray = radii * (height_deg / _height(radii))
    return scaled


def cup_radii(rng: np.random.Generator, disc_radii_deg: FloatArray, nerve: Nerve) -> FloatArray:
    """The cup's radius about the disc's centre, in the disc's directions; inside the disc everywhere.

    A healthy cup is a lying oval, a little to the temple and upwards, so that the rim is widest below. Glaucoma makes
    it an upright one that breaks through the rim below. `nerve.vertical_cdr` is met exactly.
    """
    angles = _angles()
    health = 1 - nerve.notch
    below = np.pi / 2 + rng.normal(0.30, 0.08)
    shape = (
        1
        - 0.10 * np.cos(angles)
        - 0.06 * health * np.sin(angles)
        + 0.07 * health * np.cos(2 * angles)
        + 0.30 * nerve.notch * np.exp(-0.5 * ((angles - below) / 0.33) ** 2)
    ) * _uneven(rng, angles, 0.018)
    wanted = nerve.vertical_cdr * _height(disc_radii_deg)
    low, high = 0.0, 1.5
    radii: FloatArray = np.zeros_like(disc_radii_deg)
    for _ in range(40):  # the height rises with the scale, so halving finds it
        scale = (low + high) / 2
        radii = disc_radii_deg * np.minimum(scale * shape, _WIDEST_CUP)
        low, high = (scale, high) if _height(radii) < wanted else (low, scale)
    return radii


def radius_at(radii: FloatArray, angle: FloatArray) -> FloatArray:
    """The radius in any direction, interpolated; any number of turns; the shape of `angle`, float32."""
    position = np.mod(angle, 2 * np.pi) * (_ANGLES / (2 * np.pi))
    interpolated: FloatArray = np.interp(position, np.arange(_ANGLES + 1), np.append(radii, radii[0])).astype(
        np.float32
    )
    return interpolated


def _angles() -> FloatArray:
    return np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False, dtype=np.float32)


def _uneven(rng: np.random.Generator, angles: FloatArray, strength: float) -> FloatArray:
    """A factor near 1 that varies gently around the circle."""
    wobble: FloatArray = np.ones_like(angles)
    for harmonic in (3, 4, 5):
        wobble += rng.normal(0, strength) * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    return wobble


def _height(radii: FloatArray) -> float:
    y = radii * np.sin(_angles())
    return float(y.max() - y.min())
