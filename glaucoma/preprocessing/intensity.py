"""Steps that change intensities, each a plain function of a picture and of the field of view in it.

All statistics are those of the field: a black surround would otherwise decide them. What comes out beyond the field is
without meaning; the chain blackens it once, at its end.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from glaucoma.preprocessing.settings import Clahe, ClaheChannel, Normalise, NormaliseMethod

Pixels = NDArray[np.uint8]

_TAIL_SHARE = 0.005
"""Share of the values that a stretch may clip at each end: hot pixels and reflexes, not the retina."""
_MOST_GAIN = 4.0
"""A channel that would need more light than this to match the others holds little but noise (blue, often)."""
_LOCAL_GAIN, _LOCAL_LEVEL = 4.0, 128.0
_LOCAL_SIGMA = 1 / 30
"""Of the field's radius. These three are Graham's (winner of Kaggle's diabetic retinopathy competition, 2015)."""
_FINE_SIGMA_PX = 8.0


def equalise(picture: Pixels, inside: Pixels, step: Clahe) -> Pixels:
    """Local contrast by CLAHE, RGB (N, N, 3).

    The surround takes the field's mean while it is done: left black, it would fill the edge tiles' histograms and put a
    bright ring around the retina.

    Args:
        inside: 1 in the field, 0 outside, (N, N).
    """
    if step.channel is ClaheChannel.GREEN:
        result = picture.copy()
        cv2.insertChannel(_clahe(_channel(picture, 1), inside, step), result, 1)
        return result
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    cv2.insertChannel(_clahe(_channel(np.asarray(lab, dtype=np.uint8), 0), inside, step), lab, 0)
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def _channel(picture: Pixels, index: int) -> Pixels:
    return np.asarray(cv2.extractChannel(picture, index), dtype=np.uint8)


def _clahe(channel: Pixels, inside: Pixels, step: Clahe) -> Pixels:
    filled = np.full_like(channel, round(cv2.mean(channel, mask=inside)[0]))
    cv2.copyTo(channel, inside, filled)
    # A CLAHE object keeps buffers, so each call makes its own: calls run in several threads.
    made = cv2.createCLAHE(clipLimit=step.clip_limit, tileGridSize=(step.tiles, step.tiles))
    return np.asarray(made.apply(filled), dtype=np.uint8)


def normalise(picture: Pixels, inside: Pixels, step: Normalise, *, field_radius_px: float) -> Pixels:
    """Intensities on a common footing, RGB (N, N, 3); a picture without contrast or colour stays as it is.

    Args:
        inside: 1 in the field, 0 outside, (N, N).
        field_radius_px: Of the whole field in this picture's pixels, even where the picture shows a part of it.
    """
    if step.method is NormaliseMethod.GREY_WORLD:
        return _grey_world(picture, inside)
    if step.method is NormaliseMethod.STRETCH:
        return _stretch(picture, inside)
    return _local_mean(picture, inside, max(1.0, _LOCAL_SIGMA * field_radius_px))


def _grey_world(picture: Pixels, inside: Pixels) -> Pixels:
    """Every channel with the mean of all three (G. Buchsbaum, J. Franklin Institute 310, 1980), up to four times."""
    means = np.array(cv2.mean(picture, mask=inside)[:3])
    gains = np.divide(means.mean(), means, out=np.ones(3), where=means > 0)
    values = np.arange(256)[:, None] * np.minimum(gains, _MOST_GAIN)
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(picture, table), dtype=np.uint8)


def _stretch(picture: Pixels, inside: Pixels) -> Pixels:
    counts = np.zeros(256)
    for channel in range(3):
        counts += cv2.calcHist([picture], [channel], inside, [256], [0, 256]).ravel()
    shares = np.cumsum(counts) / max(1.0, counts.sum())
    low, high = (int(np.searchsorted(shares, share)) for share in (_TAIL_SHARE, 1 - _TAIL_SHARE))
    if high <= low:
        return picture
    table = np.clip(np.rint((np.arange(256) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), dtype=np.uint8)


def _local_mean(picture: Pixels, inside: Pixels, sigma_px: float) -> Pixels:
    """Graham's, but with the mean over the field's pixels alone, so that no ring stands at its edge."""
    weight = inside.astype(np.float32)
    lit = picture.astype(np.float32) * weight[..., None]
    mean = _blurred(lit, sigma_px) / np.maximum(_blurred(weight, sigma_px), 1e-3)[..., None]
    change = (lit - mean) * _LOCAL_GAIN
    return np.asarray(np.clip(np.rint(change + _LOCAL_LEVEL), 0, 255), dtype=np.uint8)


def _blurred(values: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian blur of (N, N) or (N, N, C); a wide one on a smaller picture, which it leaves nothing of anyway."""
    side = values.shape[0]
    small = max(1, round(side / max(1.0, sigma_px / _FINE_SIGMA_PX)))
    shrunk = values if small == side else cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(shrunk, (0, 0), sigma_px * small / side)
    grown = blurred if small == side else cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, dtype=np.float32)
