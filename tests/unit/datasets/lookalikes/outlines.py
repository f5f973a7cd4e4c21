"""Look-alikes of the sets that mark by outlines, soft maps or MATLAB files: DRISHTI-GS1, G1020, ORIGA, PAPILA."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from glaucoma.schema import Eye, Label, Split, StructureState
from tests.unit.datasets.lookalikes.base import (
    Cell,
    Expected,
    ExpectedImage,
    Mask,
    encoded,
    nerve_head,
    table,
    workbook,
    write,
)
from tests.unit.datasets.lookalikes.base import write_photograph as photo
from tests.unit.datasets.lookalikes.drawing import Ellipse, canonical_of

_HEIGHT, _WIDTH = 90, 120


def drishti(root: Path) -> Expected:
    """Titles above the header and a second row below, names with a trailing quote, a patient in both splits."""
    images: dict[str, ExpectedImage] = {}
    rows: list[list[Cell]] = [
        ["Drishti-GS1: a dataset for the optic nerve head"],
        ["Diagnosis of four experts"],
        [],
        ["Sl. No.", "Drishti-GS File", "Patient ID", "Marking Expert", None, None, None, "Total"],
        [None, None, None, "Expert-1", "Expert-2", "Expert-3", "Expert-4", None],
    ]
    for number in range(2, 12):
        name = f"drishtiGS_{number:03d}"
        training = number % 2 == 0
        base = f"Drishti-GS1_files/Drishti-GS1_files/{'Training' if training else 'Test'}"
        path = photo(root, f"{base}/Images/{name}.png", _WIDTH, _HEIGHT)
        disc, cup = Ellipse(60, 45, 20, 24), Ellipse(60, 46, 8 + number % 3, 11)
        patient = 2 if number == 3 else number
        word, label = ("Glaucomatous", Label.GLAUCOMA) if number % 3 else ("Normal", Label.NORMAL)
        rows.append([number - 1, f"{name}'", f"P{patient}", 1, 1, 0, 1, word])
        truth = f"{base}/{'GT' if training else 'Test_GT'}/{name}"
        for structure, ellipse in (("ODseg", disc), ("cupseg", cup)):
            write(root, f"{truth}/SoftMap/{name}_{structure}Softmap.png", encoded(_agreement(ellipse), ".png"))
        write(root, f"{truth}/AvgBoundary/{name}_ODAvgBoundary.txt", b"45 60\n46 61\n")
        images[path] = ExpectedImage(
            label,
            Split.TRAIN if training else Split.TEST,
            patient_id=f"P{patient}",
            mask=canonical_of(disc.grown(-1), cup.grown(-1), _HEIGHT, _WIDTH),
            others={"source_label": word},
        )
    write(root, "Drishti-GS1_files/Drishti-GS1_diagnosis.xlsx", workbook(rows))
    return Expected("drishti_gs1", images)


def _agreement(ellipse: Ellipse) -> Mask:
    """Four readers, each a pixel smaller than the one before: 64, 128, 191 and 255 from the edge inwards."""
    readers = [ellipse.grown(1 - reader).pixels(_HEIGHT, _WIDTH) for reader in range(4)]
    return np.array([0, 64, 128, 191, 255], np.uint8)[np.sum(readers, axis=0)]


def g1020(root: Path) -> Expected:
    """Cups missing on some, the disc on one, other versions of the photographs, a rectangle that marks no structure."""
    images: dict[str, ExpectedImage] = {}
    outside: set[str] = set()
    rows: list[list[Cell]] = [["imageID", "binaryLabels"]]
    for number in range(12):
        name = f"image_{number}"
        path = photo(root, f"G1020/Images/{name}.{'JPG' if number == 7 else 'jpg'}", _WIDTH, _HEIGHT)
        label = Label.GLAUCOMA if number % 3 == 0 else Label.NORMAL
        rows.append([f"{name}.jpg", int(label is Label.GLAUCOMA)])
        disc = Ellipse(50 + number, 44.25, 20, 22.5)
        cup = None if number in (2, 5) else Ellipse(51 + number, 45, 9, 10)
        has_disc = number != 8
        shapes = [{"label": "discLoc", "points": [[20, 20], [90, 70]], "shape_type": "rectangle"}]
        for word, ellipse in (("disc", disc if has_disc else None), ("cup", cup if has_disc else None)):
            if ellipse is not None:
                points = ellipse.points(60, first_pixel=0.5).tolist()
                shapes.append({"label": word, "points": points, "shape_type": "polygon"})
        content = {"version": "3.16", "shapes": shapes, "imageHeight": _HEIGHT, "imageWidth": _WIDTH, "imageData": None}
        write(root, f"G1020/Images/{name}.json", json.dumps(content).encode())
        outside.add(photo(root, f"G1020/Images_Square/{name}.jpg", 32, 32))
        outside.add(photo(root, f"G1020/Images_Cropped/img/{name}.png", 24, 24))
        outside.add(photo(root, f"G1020/NerveRemoved_Images/{name}.jpg", 40, 30))
        seen = StructureState.PRESENT if cup is not None and has_disc else StructureState.NOT_VISIBLE
        images[path] = ExpectedImage(
            label,
            mask=canonical_of(disc, cup, _HEIGHT, _WIDTH) if has_disc else None,
            mask_off_px=12,
            others={"cup_state": seen, "source_label": str(int(label is Label.GLAUCOMA))},
        )
    write(root, "G1020/G1020.csv", table(rows))
    return Expected("g1020", images, frozenset(outside))


def origa(root: Path) -> Expected:
    """Three versions of each photograph; masks as pictures, some as MATLAB files alone, in both of its formats."""
    import h5py
    import scipy.io

    images: dict[str, ExpectedImage] = {}
    outside: set[str] = set()
    rows: list[list[Cell]] = [["Eye", "Filename", "ExpCDR", "Set", "CDR", "Glaucoma"]]
    for number in range(1, 13):
        name = f"{number:03d}"
        path = photo(root, f"ORIGA/ORIGA/Images/{name}.jpg")
        mask = nerve_head(path)
        heights = [int((mask >= least).any(axis=1).sum()) for least in (1, 2)]
        ratio = round(heights[1] / heights[0], 4)
        label, eye = Label.GLAUCOMA if number % 4 == 0 else Label.NORMAL, Eye.OD if number % 2 else Eye.OS
        rows.append([eye, f"{name}.jpg", ratio, "A" if number <= 6 else "B", "NaN", int(label is Label.GLAUCOMA)])
        matlab = f"ORIGA/ORIGA/Semi-automatic-annotations/{name}.mat"
        buffer = io.BytesIO()
        if number % 3:
            write(root, f"ORIGA/ORIGA/Masks/{name}.png", encoded(mask, ".png"))
            scipy.io.savemat(buffer, {"mask": mask}, do_compression=True)
        elif number % 2:
            scipy.io.savemat(buffer, {"mask": mask.astype(np.float64)})
        else:
            with h5py.File(buffer, "w") as file:  # version 7.3 keeps columns first
                file.create_dataset("mask", data=mask.T).attrs["MATLAB_class"] = np.bytes_("uint8")
        write(root, matlab, buffer.getvalue())
        outside.add(photo(root, f"ORIGA/ORIGA/Images_Cropped/{name}.jpg", 24, 24))
        outside.add(photo(root, f"ORIGA/ORIGA/Images_Square/{name}.jpg", 32, 32))
        outside.add(write(root, f"ORIGA/ORIGA/Masks_Square/{name}.png", encoded(mask[:32, :32], ".png")))
        images[path] = ExpectedImage(
            label,
            Split.TRAIN if number <= 6 else Split.TEST,
            eye=eye,
            mask=mask,
            others={"stated_vertical_cdr": ratio, "source_label": str(int(label is Label.GLAUCOMA))},
        )
    write(root, "ORIGA/ORIGA/OrigaList.csv", table(rows))
    return Expected("origa", images, frozenset(outside))


def papila(root: Path) -> Expected:
    """Three header rows, ages, two tonometers, two readers, contour files that stand twice, one reader missing."""
    base = "PapilaDB-PAPILA-17f8fa7746"
    images: dict[str, ExpectedImage] = {}
    for eye in (Eye.OD, Eye.OS):
        rows: list[list[Cell]] = [
            [None, "Age", "Gender", "Diagnosis", "Refractive Defect", None, None, "IOP", None, "Pachymetry"],
            [None, None, None, None, "dioptre_1", "dioptre_2", "astigmatism", "Pneumatic", "Perkins", None],
            ["ID"],
        ]
        for number in range(2, 9):
            diagnosis = number % 3
            pressures: tuple[Cell, Cell] = ((16.0, 18.0), (15, None), (None, None))[number % 3]
            expected_pressure = (17.0, 15.0, None)[number % 3]
            rows.append([f"#{number:03d}", 40 + number, 1, diagnosis, 0.5, None, None, *pressures, 540])
            stem = f"RET{number:03d}{eye}"
            path = photo(root, f"{base}/FundusImages/{stem}.jpg", _WIDTH, _HEIGHT)
            disc, cup = Ellipse(60.5, 44, 20, 20), Ellipse(60.5, 44, 8, 8)
            alone = number == 4
            for structure, ellipse in (("disc", disc), ("cup", cup)):
                for reader, grow in ((1, 0.0),) if alone else ((1, -2.0), (2, 2.0)):
                    points = ellipse.grown(grow).points(200, first_pixel=0.0)
                    text = "\n".join(f"   {x:.7e}   {y:.7e}" for x, y in points).encode()
                    contour = f"{base}/ExpertsSegmentations/Contours/{stem}_{structure}_exp{reader}"
                    write(root, f"{contour}.txt", text)
                    if number == 3:
                        write(root, f"{contour} 2.txt", b"1 1\n2 2\n3 1\n")
            images[path] = ExpectedImage(
                (Label.NORMAL, Label.GLAUCOMA, Label.SUSPECT)[diagnosis],
                patient_id=f"RET{number:03d}",
                eye=eye,
                mask=canonical_of(disc, cup, _HEIGHT, _WIDTH),
                mask_off_px=24,
                others={"age_years": 40.0 + number, "iop_mmhg": expected_pressure, "source_label": str(diagnosis)},
            )
        write(root, f"{base}/ClinicalData/patient_data_{eye.lower()}.xlsx", workbook(rows))
    write(root, f"{base}/FundusImages/desktop.ini", b"[.ShellClassInfo]")
    return Expected("papila", images)
