"""The same steps as one would write them with OpenCV, MONAI and scikit-image, in their own words where they have them.

Each cuts to the field of view, narrows by a tenth, resizes, equalises the green channel and blackens the surround.
MONAI has no adaptive histogram equalisation: OpenCV's stands in, as it would in practice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE_PX = 512
_SURROUND = 15
_LIT_SHARE = _SURROUND / 255

Pixels = NDArray[np.uint8]
Row = dict[str, Any]
Made = tuple[Pixels, Pixels, Pixels]
"""RGB picture (S, S, 3), mask (S, S) and field (S, S), for the packed arrays."""


@dataclass(frozen=True)
class Way:
    """One library's way: reads a row's photograph and mask, works on them, writes both as PNG."""

    name: str
    read: Callable[[Path, Row], Any]
    steps: Callable[[Any], Any]
    write: Callable[[Path, Row, Any], Made]

    def whole(self, dataset: Path, target: Path, row: Row) -> Made:
        return self.write(target, row, self.steps(self.read(dataset, row)))


def bare_opencv() -> Way:
    """What one would write in an afternoon: a threshold for the field, no checks, no records."""

    def read(dataset: Path, row: Row) -> tuple[Any, Any]:
        return cv2.imread(str(dataset / row["image"])), cv2.imread(str(dataset / row["mask"]), cv2.IMREAD_UNCHANGED)

    def steps(data: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        photograph, mask = data
        lit = (photograph[::4, ::4, 2] > _SURROUND).astype("uint8")
        x, y, width, height = (4 * side for side in cv2.boundingRect(lit))
        square = _square(y, x, y + height, x + width)
        small = cv2.resize(photograph[square], (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        small_mask = cv2.resize(mask[square], (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_NEAREST)
        field = (small[..., 2] > _SURROUND).astype("uint8")
        green = cv2.extractChannel(small, 1)
        cv2.insertChannel(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(green), small, 1)
        return cv2.bitwise_and(small, small, mask=field), small_mask, field

    def write(target: Path, row: Row, data: tuple[Any, Any, Any]) -> Made:
        small, mask, field = data
        cv2.imwrite(str(target / f"{row['image_id']}.png"), small)
        cv2.imwrite(str(target / f"{row['image_id']}-mask.png"), mask)
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB), mask, field

    return Way("bare OpenCV loop", read, steps, write)


def monai() -> Way:
    """MONAI's dictionary transforms, from the files' names to the files written."""
    import torch
    from monai import transforms as mt

    keys = ("image", "mask")

    def equalise(picture: torch.Tensor) -> torch.Tensor:
        green = np.ascontiguousarray(picture[1].numpy().astype(np.uint8))
        picture[1] = torch.from_numpy(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(green))
        return picture

    def save(key: str, postfix: str, target: Path) -> mt.SaveImaged:
        return mt.SaveImaged(
            key, output_dir=target, output_ext=".png", output_postfix=postfix, separate_folder=False,
            writer="PILWriter", output_dtype=np.uint8, resample=False, print_log=False,
        )  # fmt: skip

    load = mt.Compose([mt.LoadImaged(keys, reader="PILReader", reverse_indexing=False), mt.EnsureChannelFirstd(keys)])
    chain = mt.Compose(
        [
            mt.CropForegroundd(keys, source_key="image", select_fn=lambda x: x > _SURROUND, allow_smaller=True),
            mt.CenterScaleCropd(keys, roi_scale=0.9),
            mt.Resized(keys, spatial_size=(SIZE_PX, SIZE_PX), mode=("area", "nearest")),
            mt.CopyItemsd("image", names="field"),
            mt.Lambdad("field", lambda picture: (picture[:1] > _SURROUND).to(torch.uint8)),
            mt.Lambdad("image", equalise),
            lambda data: {**data, "image": data["image"] * data["field"]},
        ]
    )
    savers: dict[Path, mt.Compose] = {}

    def write(target: Path, row: Row, data: dict[str, Any]) -> Made:
        if target not in savers:
            savers[target] = mt.Compose([save("image", "", target), save("mask", "mask", target)])
        savers[target](data)
        picture = np.asarray(data["image"].permute(1, 2, 0).to(torch.uint8))
        return picture, np.asarray(data["mask"][0].to(torch.uint8)), np.asarray(data["field"][0])

    def read(dataset: Path, row: Row) -> Any:
        return load({key: str(dataset / row[key]) for key in keys})

    return Way("MONAI", read, lambda data: chain(dict(data)), write)


def scikit_image() -> Way:
    """scikit-image's functions one after the other; its pictures are float64 from 0 to 1 on the way."""
    from skimage import color, exposure, io, measure, transform, util

    def read(dataset: Path, row: Row) -> tuple[Any, Any]:
        return io.imread(dataset / row["image"]), io.imread(dataset / row["mask"])

    def steps(data: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        photograph, mask = data
        regions = measure.regionprops(measure.label(color.rgb2gray(photograph) > _LIT_SHARE))
        square = _square(*max(regions, key=lambda region: region.area).bbox)
        size = (SIZE_PX, SIZE_PX)
        small = transform.resize(photograph[square], size, anti_aliasing=True)
        small_mask = transform.resize(mask[square], size, order=0, preserve_range=True, anti_aliasing=False)
        field = color.rgb2gray(small) > _LIT_SHARE
        small[..., 1] = exposure.equalize_adapthist(small[..., 1], kernel_size=SIZE_PX // 8, clip_limit=0.01)
        picture = util.img_as_ubyte(small * field[..., None])
        return picture, small_mask.astype(np.uint8), field.astype(np.uint8)

    def write(target: Path, row: Row, data: tuple[Any, Any, Any]) -> Made:
        picture, mask, field = data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mask has little contrast, says imsave
            io.imsave(target / f"{row['image_id']}.png", picture, check_contrast=False)
            io.imsave(target / f"{row['image_id']}-mask.png", mask, check_contrast=False)
        return picture, mask, field

    return Way("scikit-image", read, steps, write)


def _square(top: int, left: int, bottom: int, right: int) -> tuple[slice, slice]:
    """The square about the middle of the field's box, nine tenths of its longer side, inside the photograph."""
    half = round(0.9 * max(bottom - top, right - left) / 2)
    y, x = (top + bottom) // 2, (left + right) // 2
    return slice(max(0, y - half), y + half), slice(max(0, x - half), x + half)
