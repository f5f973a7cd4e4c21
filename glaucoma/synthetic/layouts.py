"""How photographs become the files of a known dataset layout: paths, mask encodings, label tables."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from glaucoma.schema import Label, Split
from glaucoma.synthetic.cohort import Sitting
from glaucoma.synthetic.fundus import Photograph
from glaucoma.synthetic.settings import SyntheticLayout
from glaucoma.synthetic.texture import ByteArray

File = tuple[str, bytes]
"""Path inside the archive, and content."""
Cell = str | int | float

ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold, given to every file so that bytes do not depend on the day."""
_REFUGE_GREY: Final = np.array([255, 128, 0], np.uint8)
"""REFUGE's grey by `MaskValue`: background, rim, cup."""


class ArchiveLayout(ABC):
    """Names files for one archive; photographs come in the cohort's order, the label tables last."""

    @abstractmethod
    def files(self, sitting: Sitting, photograph: Photograph) -> Iterator[File]:
        """The files of one photograph."""

    def tables(self) -> Iterator[File]:
        """The files that speak of all photographs; asked for once, at the end."""
        yield from ()


class ImagesMasks(ArchiveLayout):
    """`images/P0001_OD.jpg`, `masks/P0001_OD.png` (0 background, 1 rim, 2 cup), `labels.csv`."""

    def __init__(self) -> None:
        self._rows: list[list[Cell]] = []

    def files(self, sitting: Sitting, photograph: Photograph) -> Iterator[File]:
        stem = f"{sitting.patient_id}_{sitting.eye.value}"
        self._rows.append(
            [f"{stem}.jpg", sitting.label.value, sitting.patient_id, sitting.eye.value, sitting.camera.name]
        )
        yield f"images/{stem}.jpg", encode_jpeg(photograph.image, sitting.camera.jpeg_quality)
        yield f"masks/{stem}.png", encode_grey(photograph.mask, ".png")

    def tables(self) -> Iterator[File]:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "label", "patient_id", "eye", "site"])
        writer.writerows(self._rows)
        yield "labels.csv", text.getvalue().encode()


class ClassFolders(ArchiveLayout):
    """`normal/P0001_OD.jpg`, `glaucoma/...`, `suspect/...` where there are any."""

    def files(self, sitting: Sitting, photograph: Photograph) -> Iterator[File]:
        name = f"{sitting.patient_id}_{sitting.eye.value}.jpg"
        yield f"{sitting.label.value}/{name}", encode_jpeg(photograph.image, sitting.camera.jpeg_quality)


class Acrima(ArchiveLayout):
    """`Database/Images/Im001_ACRIMA.jpg`; `_g_` in the name is glaucoma."""

    def __init__(self) -> None:
        self._count = 0

    def files(self, sitting: Sitting, photograph: Photograph) -> Iterator[File]:
        self._count += 1
        mark = "_g" if sitting.label is Label.GLAUCOMA else ""
        name = f"Im{self._count:03d}{mark}_ACRIMA.jpg"
        yield f"Database/Images/{name}", encode_jpeg(photograph.image, sitting.camera.jpeg_quality)


class Refuge(ArchiveLayout):
    """REFUGE's tree: three splits, masks as inverted BMP, labels in folders (training) and workbooks (the rest)."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._val: list[list[Cell]] = []
        self._test: list[list[Cell]] = []

    def files(self, sitting: Sitting, photograph: Photograph) -> Iterator[File]:
        is_glaucoma = sitting.label is Label.GLAUCOMA
        image = encode_jpeg(photograph.image, sitting.camera.jpeg_quality)
        bitmap = encode_grey(_REFUGE_GREY[photograph.mask], ".bmp")
        fovea = [round(value, 2) for value in photograph.fovea_px]
        if sitting.split is Split.TRAIN:
            folder = "Glaucoma" if is_glaucoma else "Non-Glaucoma"
            stem = self._next("g" if is_glaucoma else "n")
            yield f"Training400/{folder}/{stem}.jpg", image
            yield f"Annotation-Training400/Disc_Cup_Masks/{folder}/{stem}.bmp", bitmap
        elif sitting.split is Split.VAL:
            stem = self._next("V")
            self._val.append([f"{stem}.jpg", *fovea, int(is_glaucoma)])
            yield f"REFUGE-Validation400/{stem}.jpg", image
            yield f"REFUGE-Validation400-GT/Disc_Cup_Masks/{stem}.bmp", bitmap
        else:
            stem = self._next("T")
            self._test.append([f"{stem}.jpg", *fovea, int(is_glaucoma)])
            yield f"Test400/{stem}.jpg", image
            yield f"REFUGE-Test-GT/Disc_Cup_Masks/{'G' if is_glaucoma else 'N'}/{stem}.bmp", bitmap

    def tables(self) -> Iterator[File]:
        columns: list[Cell] = ["ImgName", "Fovea_X", "Fovea_Y"]
        yield (
            "REFUGE-Validation400-GT/Fovea_locations.xlsx",
            encode_workbook([[*columns, "Glaucoma Label"], *self._val]),
        )
        yield (
            "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx",
            encode_workbook([[*columns, "Label(Glaucoma=1)"], *self._test]),
        )

    def _next(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}{self._counts[prefix]:04d}"


_LAYOUTS: Final[dict[SyntheticLayout, type[ArchiveLayout]]] = {
    SyntheticLayout.IMAGES_MASKS: ImagesMasks,
    SyntheticLayout.CLASS_FOLDERS: ClassFolders,
    SyntheticLayout.ACRIMA: Acrima,
    SyntheticLayout.REFUGE: Refuge,
}


def new_layout(layout: SyntheticLayout) -> ArchiveLayout:
    """A fresh namer of files for one archive."""
    return _LAYOUTS[layout]()


def encode_jpeg(image: ByteArray, quality: int) -> bytes:
    """An RGB picture as JPEG."""
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_grey(picture: ByteArray, ending: str) -> bytes:
    """A one-channel picture without loss, `.png` or `.bmp`."""
    return _encode(ending, picture, [])


def _encode(ending: str, picture: ByteArray, parameters: list[int]) -> bytes:
    done, content = cv2.imencode(ending, picture, parameters)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape} as {ending}")
    return bytes(content)


def encode_workbook(rows: list[list[Cell]]) -> bytes:
    """An .xlsx file of one sheet, the same bytes for the same rows: openpyxl's times of writing are taken out."""
    from openpyxl import Workbook

    workbook = Workbook()
    for row in rows:
        workbook.active.append(row)
    written, timeless = io.BytesIO(), io.BytesIO()
    workbook.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(timeless, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"1980-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, ZIP_TIME), content, zipfile.ZIP_DEFLATED)
    return timeless.getvalue()
