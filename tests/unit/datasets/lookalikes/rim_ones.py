"""Look-alikes of RIM-ONE's three releases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glaucoma.schema import Eye, Label, SourcePart, Split, StructureState
from tests.unit.datasets.lookalikes.base import Expected, ExpectedImage, Mask, encoded, nerve_head, write
from tests.unit.datasets.lookalikes.base import write_photograph as photo
from tests.unit.datasets.lookalikes.drawing import Ellipse, canonical_of, sixteen_points_text, stereo_pair

_HALF_WIDTH, _HEIGHT = 60, 80
_MIXED = "Glaucoma and glaucoma suspicious"


def r2(root: Path) -> Expected:
    """Doubled folders; the folder of the sick names two classes; one photograph has no text; endings in capitals."""
    images = {}
    for number in range(1, 13):
        folder, label = ("Normal", Label.NORMAL) if number <= 6 else (_MIXED, Label.GLAUCOMA)
        stem = f"RIM-ONE r2/RIM-ONE r2/{folder}/Im{number if number <= 6 else number + 249:03d}"
        disc = Ellipse(38 + number, 40 - number / 2, 18, 20 + number % 3)
        path = photo(root, f"{stem}.{'JPG' if number == 2 else 'jpg'}", 96, 90)
        if number != 5:
            text = sixteen_points_text(
                disc,
                header=["Reference segmentation 2011 16 points", "Image of 1 eye"],
                two_a_line=number % 2 == 0,
                tail="Ellipse parameters\r\n45.2 40.1 18.0 20.0 0.1",
            )
            write(root, f"{stem}-gs.txt", text)
        images[path] = ExpectedImage(
            label,
            mask=None if number == 5 else canonical_of(disc, None, 90, 96),
            mask_off_px=disc.edge_px(),
            others={"source_label": folder, "cup_state": StructureState.NOT_VISIBLE},
        )
    write(root, "RIM-ONE r2/Thumbs.db", b"no picture")
    return Expected("rim_one_r2", images)


def _r3(root: Path, *, whole_width: bool) -> Expected:
    images: dict[str, ExpectedImage] = {}
    outside: set[str] = set()
    cases = [f"{kind}-{number}-{side}" for kind in "NGS" for number, side in ((1, "L"), (2, "R"), (30, "L"))]
    for place, case in enumerate(cases):
        folder = "Healthy" if case.startswith("N") else "Glaucoma and suspects"
        half = "left" if case.endswith("L") else "right"
        average = nerve_head(case, _HALF_WIDTH, _HEIGHT, margin=4)
        first = Ellipse(28, 40, 10, 12)
        path = f"RIM-ONE r3/{folder}/Stereo Images/{case}.jpg"
        fused = case.startswith("S")
        mask = canonical_of(first.grown(1), first.grown(-4), _HEIGHT, _HALF_WIDTH) if fused else average
        write(root, path, encoded(stereo_pair(case, mask > 0, half), ".jpg"))
        middle = "-1" if place % 2 else ""
        for reader, grow in ((1, 0), (2, 2)):
            values = canonical_of(first.grown(grow), first.grown(grow - 5), _HEIGHT, _HALF_WIDTH)
            stem = f"RIM-ONE r3/{folder}/Expert{reader}_masks/{case}{middle}"
            for name in _write_structures(root, stem, f"exp{reader}", values, half, whole_width):
                if not fused:
                    outside.add(name)
        if not fused:
            _write_structures(root, f"RIM-ONE r3/{folder}/Average_masks/{case}", "Avg", average, half, whole_width)
        label = {"N": Label.NORMAL, "G": Label.GLAUCOMA, "S": Label.SUSPECT}[case[0]]
        images[path] = ExpectedImage(
            label,
            patient_id=case[:-2],
            eye=Eye.OS if case.endswith("L") else Eye.OD,
            mask=mask,
            mask_off_px=20 if fused else 0,
            others={"part": SourcePart(half), "site": "RIM-ONE r3", "source_label": case[0]},
        )
    return Expected("rim_one_r3", images, frozenset(outside))


def _write_structures(root: Path, stem: str, reader: str, values: Mask, half: str, whole_width: bool) -> list[str]:
    names = []
    for structure, least in (("Disc", 1), ("Cup", 2)):
        picture = np.where(values >= least, 255, 0).astype(np.uint8)
        if whole_width:
            blank = np.zeros_like(picture)
            picture = np.hstack([picture, blank] if half == "left" else [blank, picture])
        names.append(write(root, f"{stem}-{structure}-{reader}.png", encoded(picture, ".png")))
    return names


def r3(root: Path) -> Expected:
    """Masks of half the width; suspects have no average; experts' names have a middle number in places."""
    return _r3(root, whole_width=False)


def r3_whole_width(root: Path) -> Expected:
    """The same with masks as wide as the pairs."""
    return _r3(root, whole_width=True)


def _dl(root: Path, partitions: list[str]) -> Expected:
    images: dict[str, ExpectedImage] = {}
    outside: set[str] = set()
    for number in range(1, 13):
        hospital = f"r{number % 3 + 1}"
        label = "glaucoma" if number % 4 == 0 else "normal"
        stem = f"{hospital}_Im{number:03d}"
        disc, cup = Ellipse(40, 42 + number % 4, 20, 22), Ellipse(41, 43 + number % 4, 9, 10 + number % 3)
        for partition in partitions:
            in_test = number % 2 == 0 if partition.endswith("randomly") else hospital != "r2"
            folder = "test_set" if in_test else "training_set"
            path = f"RIM-ONE_DL_images/{partition}/{folder}/{label}/{stem}.png"
            photo(root, f"RIM-ONE_DL_images/x/{stem}.png", 90, 90)  # every partition holds the same bytes
            write(root, path, (root / f"RIM-ONE_DL_images/x/{stem}.png").read_bytes())
            (root / f"RIM-ONE_DL_images/x/{stem}.png").unlink()
            if partition == partitions[0]:
                images[path] = ExpectedImage(
                    Label(label),
                    Split.TEST if in_test else Split.TRAIN,
                    mask=canonical_of(disc, cup, 90, 90),
                    mask_off_px=disc.edge_px() + cup.edge_px() if number % 3 == 0 else 0,
                    others={"source_label": label, "site": f"RIM-ONE {hospital}"},
                )
            else:
                outside.add(path)
        middle = 1 + number % 2
        marks = f"RIM-ONE_DL_reference_segmentations/{label}/{stem}-{middle}"
        for structure, ellipse in (("Disc", disc), ("Cup", cup)):
            if number % 3 != 0:
                picture = np.where(ellipse.pixels(90, 90), 255, 0).astype(np.uint8)
                if number % 2:
                    picture = 255 - picture
                write(root, f"{marks}-{structure}-T.png", encoded(picture, ".png"))
            text = sixteen_points_text(ellipse, header=["DCSeg 1.0, 16 points"], two_a_line=False)
            write(root, f"{marks}-{structure}-T.txt", text)
    (root / "RIM-ONE_DL_images/x").rmdir()
    return Expected("rim_one_dl", images, frozenset(outside))


def dl(root: Path) -> Expected:
    """Two partitions of the same files; masks in either polarity, some as points alone, the middle number varies."""
    return _dl(root, ["partitioned_by_hospital", "partitioned_randomly"])


def dl_random_only(root: Path) -> Expected:
    """The partition by hospital is not there."""
    return _dl(root, ["partitioned_randomly"])
