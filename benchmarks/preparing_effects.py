"""What the order and the interpolation of preprocessing's steps do to real photographs.

`python -m benchmarks.preparing_effects PHOTOGRAPH..` prints the table of docs/reference/preprocessing.md. Contrast is
the local standard deviation (Gaussian, sigma 4 px) of green, its median over the field: vessels and the disc's edge.
Noise is Immerkaer's estimate (Computer Vision and Image Understanding 64, 1996). Both are in grey levels of 255, as is
the mean difference of green from the default chain's. Time is processor time of one thread, of the steps without
reading and writing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.preparing import no_disc
from glaucoma.datasets.field_of_view import find_field
from glaucoma.datasets.imagefile import read_photograph
from glaucoma.preprocessing.chain import Made, run_chain
from glaucoma.preprocessing.settings import (
    DEFAULT_STEPS,
    CentreCrop,
    Clahe,
    ClaheChannel,
    FieldCrop,
    Interpolation,
    Normalise,
    NormaliseMethod,
    PreprocessSettings,
    Resize,
    Step,
)

_CROPS = (FieldCrop(), CentreCrop())
_ROUNDS = 3
_EDGE = np.ones((9, 9), np.uint8)
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
CHAINS: dict[str, tuple[Step, ...]] = {
    "resize, clahe (default)": DEFAULT_STEPS,
    "clahe, resize": (*_CROPS, Clahe(), Resize()),
    "resize linear, clahe": (*_CROPS, Resize(interpolation=Interpolation.LINEAR), Clahe()),
    "resize cubic, clahe": (*_CROPS, Resize(interpolation=Interpolation.CUBIC), Clahe()),
    "resize lanczos, clahe": (*_CROPS, Resize(interpolation=Interpolation.LANCZOS), Clahe()),
    "resize, clahe on lightness": (*_CROPS, Resize(), Clahe(channel=ClaheChannel.LIGHTNESS)),
    "resize alone": (*_CROPS, Resize()),
    **{f"resize, {method}": (*_CROPS, Resize(), Normalise(method=method)) for method in NormaliseMethod},
    "local_mean, resize": (*_CROPS, Normalise(method=NormaliseMethod.LOCAL_MEAN), Resize()),
}


def contrast(green: NDArray[np.float32], field: NDArray[np.bool_]) -> float:
    """Median over the field of the local standard deviation."""
    mean = cv2.GaussianBlur(green, (0, 0), 4)
    variance = cv2.GaussianBlur(green * green, (0, 0), 4) - mean * mean
    return float(np.median(np.sqrt(np.maximum(variance, 0))[field]))


def noise(green: NDArray[np.float32], field: NDArray[np.bool_]) -> float:
    """Standard deviation of the pixels' noise."""
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(cv2.filter2D(green, -1, _IMMERKAER))[field].mean())


def measure(paths: list[Path]) -> None:
    """Prints a row for each chain, means over the photographs."""
    cv2.setNumThreads(1)
    photographs = [read_photograph(path).pixels for path in paths]
    seconds: dict[str, list[float]] = {name: [] for name in CHAINS}
    made: dict[str, list[Made]] = {}
    for _ in range(_ROUNDS):
        for name, steps in CHAINS.items():
            settings = PreprocessSettings(steps=steps)
            start = time.process_time()
            made[name] = [run_chain(one, find_field(one), settings, no_disc) for one in photographs]
            seconds[name].append(time.process_time() - start)
    default = next(iter(CHAINS))
    print(f"{len(paths)} photographs\n{'chain':<28} contrast  noise  difference   time")
    for name, results in made.items():
        rows = [_row(one, wanted) for one, wanted in zip(results, made[default], strict=True)]
        first, second, third = np.mean(rows, axis=0)
        ratio = np.median(seconds[name]) / np.median(seconds[default])
        print(f"{name:<28} {first:8.1f} {second:6.1f} {third:11.1f} {ratio:6.2f}")


def _row(one: Made, wanted: Made) -> tuple[float, float, float]:
    field = cv2.erode(one.inside, _EDGE) > 0
    green, other = (made.picture[..., 1].astype(np.float32) for made in (one, wanted))
    return contrast(green, field), noise(green, field), float(np.abs(green - other)[field].mean())


if __name__ == "__main__":
    measure([Path(name) for name in sys.argv[1:]])
