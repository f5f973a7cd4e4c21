"""The retina's vessels: trees that grow out of the disc, arch around the macula, and are painted as what they absorb.

Arteries are narrower, brighter and carry a stronger light reflex; veins are wider and darker. Lengths in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from glaucoma.synthetic.anatomy import Anatomy
from glaucoma.synthetic.texture import ByteArray, FloatArray
from glaucoma.synthetic.view import View

_STEP_DEG = 0.35
_THINNEST_DEG = 0.06
_WORLD_DEG = 34.0
_FOVEAL_ZONE_DEG = 1.6
"""No vessel enters this distance from the fovea."""
_CHANCE_RAD = 0.045
_SUBPIXEL_BITS = 4
_OUTLINE_PX = 1.3
"""What OpenCV's smooth outline adds to a filled shape's width."""

Goal = Callable[[float, float], float]
"""The heading, in radians, that a vessel at (x, y) turns to."""


@dataclass(frozen=True)
class Vessel:
    """One unbranched course: `points_deg` (n, 2), `widths_deg` (n,)."""

    points_deg: FloatArray
    widths_deg: FloatArray
    artery: bool


@dataclass
class _Sprout:
    x: float
    y: float
    heading: float
    width: float
    reach: float
    artery: bool
    goal: Goal
    generation: int = 0
    emerges: bool = False
    """Out of the depth of the disc, not off another vessel."""
    points: list[tuple[float, float]] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)


def grow_vessels(rng: np.random.Generator, anatomy: Anatomy) -> list[Vessel]:
    """Both trees of one eye, from the trunks in the disc to the last twigs."""
    waiting = [*_arcades(rng, anatomy), *_disc_twigs(rng, anatomy)]
    grown: list[Vessel] = []
    while waiting:
        sprout = waiting.pop()
        waiting.extend(_grow(rng, sprout))
        if len(sprout.points) > 2:
            grown.append(Vessel(np.array(sprout.points, np.float32), _tapered(sprout), sprout.artery))
    return grown


def _arcades(rng: np.random.Generator, anatomy: Anatomy) -> list[_Sprout]:
    """The eight trunks: artery and vein, above and below, towards the temple and towards the nose."""
    disc_x, disc_y = anatomy.disc_centre_deg
    disc_radius = float(anatomy.disc_radii_deg.mean())
    sprouts = []
    for artery in (False, True):
        middle_x = disc_x + disc_radius * rng.normal(0.26 if artery else 0.16, 0.05)
        middle_y = disc_y + disc_radius * rng.normal(0.0, 0.06)
        for vertical in (-1, 1):
            root_x, root_y = rng.normal((middle_x, middle_y), 0.03 * disc_radius).tolist()
            for temporal in (True, False):
                bend = rng.uniform(0.05, 0.11) * (1.7 if artery else 1.0) if temporal else -rng.uniform(0.02, 0.08)
                width = (0.34 if artery else 0.45) * (1.0 if temporal else 0.68) * rng.normal(1, 0.07)
                heading = vertical * math.pi / 2 + rng.normal(0, 0.22) + (0.15 if temporal else -0.25) * vertical
                goal = _along_arcade(root_x, root_y, vertical, bend)
                sprouts.append(_Sprout(root_x, root_y, heading, width, 42.0, artery, goal, emerges=True))
    return sprouts


def _disc_twigs(rng: np.random.Generator, anatomy: Anatomy) -> list[_Sprout]:
    """Fine vessels straight from the disc: a few to the macula, a few to the nose."""
    disc_x, disc_y = anatomy.disc_centre_deg
    radius = float(anatomy.disc_radii_deg.mean())
    sprouts = []
    for _ in range(int(rng.integers(6, 10))):
        to_macula = rng.random() < 0.5
        angle = rng.uniform(-0.9, 0.9) + (math.pi if to_macula else 0.0)
        start = radius * rng.uniform(0.25, 0.6)
        x, y = disc_x + 0.2 * radius + start * math.cos(angle), disc_y + start * math.sin(angle)
        goal = _to_fovea(rng) if to_macula else _straight(angle)
        reach = rng.uniform(6, 13) if to_macula else rng.uniform(8, 20)
        sprouts.append(_Sprout(x, y, angle, rng.uniform(0.09, 0.15), reach, rng.random() < 0.5, goal, 1, emerges=True))
    return sprouts


def _grow(rng: np.random.Generator, sprout: _Sprout) -> list[_Sprout]:
    """Lets one sprout run its course; fills in its points and gives back its branches."""
    steps = int(sprout.reach / _STEP_DEG)
    turns = _wandering(rng, steps)
    branches: list[_Sprout] = []
    next_branch, side = rng.uniform(2.5, 6.0), 1 if rng.random() < 0.5 else -1
    for step in range(steps):
        sprout.points.append((sprout.x, sprout.y))
        sprout.widths.append(sprout.width)
        pull = math.remainder(sprout.goal(sprout.x, sprout.y) - sprout.heading, 2 * math.pi)
        sprout.heading += 0.12 * pull + turns[step]
        sprout.x += _STEP_DEG * math.cos(sprout.heading)
        sprout.y += _STEP_DEG * math.sin(sprout.heading)
        sprout.width *= 0.991
        if _ends(sprout):
            break
        if step * _STEP_DEG >= next_branch and sprout.generation < 3:
            branches.append(_branch(rng, sprout, side))
            side = -side if rng.random() < 0.75 else side
            next_branch += rng.gamma(4.0, 1.1)
    return branches


def _wandering(rng: np.random.Generator, steps: int) -> list[float]:
    """Turns, in radians a step, that make a course wind: a slow wave, a quicker one, and chance."""
    way_deg = np.arange(steps) * _STEP_DEG
    turns = rng.normal(0, _CHANCE_RAD, steps)
    for shortest_deg, longest_deg, swing_rad in ((7.0, 12.0, 0.30), (2.5, 5.0, 0.22)):
        frequency = 2 * math.pi / rng.uniform(shortest_deg, longest_deg)
        swing = swing_rad * rng.uniform(0.3, 1.3)
        turns += swing * frequency * _STEP_DEG * np.cos(frequency * way_deg + rng.uniform(0, 2 * math.pi))
    listed: list[float] = turns.tolist()
    return listed


def _tapered(sprout: _Sprout) -> FloatArray:
    """Its widths, narrowing over the last four degrees to a third: vessels fade, they neither start nor stop."""
    count = len(sprout.widths)
    tail = min(count, round(4 / _STEP_DEG))
    shape = np.ones(count, np.float32)
    shape[count - tail :] = np.linspace(1, 0.33, tail)
    if sprout.emerges:
        shape[:4] *= np.array([0.25, 0.50, 0.72, 0.88], np.float32)[:count]
    return np.array(sprout.widths, np.float32) * shape


def _ends(sprout: _Sprout) -> bool:
    from_fovea = math.hypot(sprout.x, sprout.y)
    return sprout.width < _THINNEST_DEG or from_fovea < _FOVEAL_ZONE_DEG or from_fovea > _WORLD_DEG


def _branch(rng: np.random.Generator, parent: _Sprout, side: int) -> _Sprout:
    """A side branch; it takes some of the parent's width, and heads for the fovea or for the periphery."""
    width = parent.width * rng.uniform(0.38, 0.78)
    parent.width = max((parent.width**3 - 0.6 * width**3) ** (1 / 3), 0.8 * parent.width)  # after Murray's law
    heading = parent.heading + side * rng.uniform(0.45, 1.05)
    to_fovea = math.atan2(-parent.y, -parent.x)
    inward = abs(math.remainder(heading - to_fovea, 2 * math.pi)) < 1.2 and math.hypot(parent.x, parent.y) < 14
    goal = _to_fovea(rng) if inward else _straight(heading + side * rng.normal(-0.25, 0.2))
    reach = rng.uniform(4, 10) if inward else rng.uniform(7, 22)
    return _Sprout(parent.x, parent.y, heading, width, reach, parent.artery, goal, parent.generation + 1)


def _along_arcade(root_x: float, root_y: float, vertical: int, bend: float) -> Goal:
    """Up or down from the root, bending to the temple (`bend` > 0), where it levels out, or to the nose."""

    def heading(x: float, y: float) -> float:
        height = max(0.0, vertical * (y - root_y))
        levelling = (height / 8.5) ** 3 if bend > 0 else 0.0
        return math.atan2(vertical, -2 * bend * height - levelling)

    return heading


def _to_fovea(rng: np.random.Generator) -> Goal:
    miss_x, miss_y = rng.normal(0, 1.5, 2).tolist()
    return lambda x, y: math.atan2(miss_y - y, miss_x - x)


def _straight(angle: float) -> Goal:
    return lambda x, y: angle


@dataclass(frozen=True)
class VesselLayers:
    """Three pictures (H, W), 0 to 1: how much arterial blood, venous blood and light reflex lies over each pixel."""

    arteries: FloatArray
    veins: FloatArray
    reflex: FloatArray


def paint_vessels(vessels: list[Vessel], view: View) -> VesselLayers:
    """Draws the trees, the thin first, with sub-pixel edges."""
    fine = 2 if view.height_px < 1000 else 1
    canvases: list[ByteArray] = [np.zeros((view.height_px * fine, view.width_px * fine), np.uint8) for _ in range(3)]
    arteries, veins, reflex = canvases
    for vessel in sorted(vessels, key=lambda v: float(v.widths_deg[0])):
        points = (view.to_px(vessel.points_deg) + 0.5) * fine - 0.5
        widths = vessel.widths_deg * (view.px_per_deg * fine)
        depth = np.clip(0.15 + 0.85 * vessel.widths_deg / 0.30, 0, 1)
        _paint_ribbon(arteries if vessel.artery else veins, points, widths, depth)
        shine = np.clip((vessel.widths_deg - 0.12) / 0.15, 0, 1) * (1.0 if vessel.artery else 0.45)
        if len(points) > 8 and shine.max() > 0:
            deep = 6  # points where a trunk still rises from the disc, too deep to shine
            _paint_ribbon(reflex, points[deep:], widths[deep:] * 0.28, shine[deep:])
    softness = 0.035 * view.px_per_deg * fine
    return VesselLayers(*(_finish(canvas, view, softness) for canvas in canvases))


def _paint_ribbon(canvas: ByteArray, points: FloatArray, widths: FloatArray, depth: FloatArray) -> None:
    """Fills the band around a course, piece by piece, each as dark as its depth."""
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    length = np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    half = normal / length * np.maximum(widths - _OUTLINE_PX, 0.05)[:, None] / 2
    left, right = points + half, points - half
    for start in range(0, len(points) - 1, 2):
        piece = slice(start, start + 3)
        outline = np.concatenate([left[piece], right[piece][::-1]])
        fixed = np.round(outline * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], float(255 * depth[start]), cv2.LINE_AA, _SUBPIXEL_BITS)


def _finish(canvas: ByteArray, view: View, softness_px: float) -> FloatArray:
    if softness_px > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), softness_px)
    if canvas.shape != view.shape:
        canvas = cv2.resize(canvas, (view.width_px, view.height_px), interpolation=cv2.INTER_AREA)
    return canvas.astype(np.float32) / 255
