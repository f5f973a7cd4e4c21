"""Smooth random fields, and the small curves that every layer of the picture is made with.

Large arrays are float32: Python's own floats leave them so, which is why single numbers are not NumPy's here.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
ByteArray = npt.NDArray[np.uint8]


def rgb(red: float, green: float, blue: float) -> FloatArray:
    """A colour, or a factor for each channel: float32 (3,)."""
    return np.array([red, green, blue], np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> FloatArray:
    """A random field of mean about 0 and standard deviation about 1, with features of about `cell_px`; shape (H, W)."""
    height, width = shape
    grid = (max(2, round(height / cell_px) + 2), max(2, round(width / cell_px) + 2))
    coarse = rng.standard_normal(grid, dtype=np.float32)
    enlarged: FloatArray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return enlarged * 1.3  # what the interpolation takes from the deviation


def layered_noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float, octaves: int) -> FloatArray:
    """Sum of smooth fields, each half as coarse and two thirds as strong as the one before."""
    total: FloatArray = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += 0.66**octave * smooth_noise(rng, shape, max(cell_px / 2**octave, 1.0))
    return total


def smoothstep(low: float, high: float, values: FloatArray) -> FloatArray:
    """0 below `low`, 1 above `high`, a smooth rise between; falls instead where `low` > `high`."""
    t: FloatArray = np.clip((values - low) / (high - low), 0, 1)
    rise: FloatArray = t * t * (3 - 2 * t)
    return rise


def bump(squared_distance: FloatArray, sigma: float) -> FloatArray:
    """A Gaussian bump of height 1 and standard deviation `sigma`, of the squared distance from its middle."""
    height: FloatArray = np.exp(squared_distance * (-0.5 / sigma**2))
    return height


def resize_to(field: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """`field`, (h, w) or (h, w, c), bilinearly at another (H, W)."""
    if field.shape[:2] == shape:
        return field
    resized: FloatArray = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return resized
