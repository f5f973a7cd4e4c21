"""Look-alikes of REFUGE, of its re-bundled form, and of REFUGE2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from glaucoma.schema import Label, Split
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

_INVERTED = np.array([255, 128, 0], np.uint8)
_ZEISS, _CANON = "Zeiss Visucam 500", "Canon CR-2"


def _original(root: Path, folder: str, parts: str = "train val test") -> dict[str, ExpectedImage]:
    """REFUGE's three parts as the challenge gave them out, under `folder`, whose {} stands for the part."""
    images: dict[str, ExpectedImage] = {}

    def add(path: str, mask_path: str, label: Label, split: Split, site: str) -> None:
        mask = nerve_head(path)
        write(root, mask_path, encoded(_INVERTED[mask], ".bmp"))
        images[photo(root, path)] = ExpectedImage(label, split, mask=mask, others={"site": site})

    train, val, test = (folder.format(part) for part in ("train", "val", "test"))
    for number in range(1, 5):
        for letter, word, label in (("g", "Glaucoma", Label.GLAUCOMA), ("n", "Non-Glaucoma", Label.NORMAL)):
            bitmap = f"{letter}{number:04d}.{'BMP' if number == 1 else 'bmp'}"
            add(
                f"{train}Training400/{word}/{letter}{number:04d}.jpg",
                f"{train}Annotation-Training400/Disc_Cup_Masks/{word}/{bitmap}",
                label,
                Split.TRAIN,
                _ZEISS,
            )
    truth: list[list[Cell]] = [["ID", "ImgName", "Fovea_X", "Fovea_Y", "Glaucoma Label"]]
    tested: list[list[Cell]] = [["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"]]
    for number in range(1, 7):
        label = Label.GLAUCOMA if number % 3 == 0 else Label.NORMAL
        name = f"V{number:04d}"
        add(
            f"{val}REFUGE-Validation400/{name}.jpg",
            f"{val}REFUGE-Validation400-GT/Disc_Cup_Masks/{name}.bmp",
            label,
            Split.VAL,
            _CANON,
        )
        truth.append([number, f"{name}.jpg", 10.5, 11.25, int(label is Label.GLAUCOMA)])
        name, letter = f"T{number:04d}", "G" if label is Label.GLAUCOMA else "N"
        add(
            f"{test}Test400/{name}.jpg",
            f"{test}REFUGE-Test-GT/Disc_Cup_Masks/{letter}/{name}.bmp",
            label,
            Split.TEST,
            _CANON,
        )
        if number != 6:  # one photograph is named by its mask's folder alone
            tested.append([number, f"{name}.jpg", int(label is Label.GLAUCOMA), 10.5, 11.25])
    write(root, f"{val}REFUGE-Validation400-GT/Fovea_locations.xlsx", workbook(truth))
    write(root, f"{test}REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx", workbook(tested))
    return images


def refuge(root: Path) -> Expected:
    """Labels in names, in two workbooks and in the masks' folders; the masks are inverted."""
    images = _original(root, "REFUGE/")
    write(root, "REFUGE/Training400/Thumbs.db", b"no picture")
    return Expected("refuge", images)


def bundled(root: Path) -> Expected:
    """Every photograph three times over, masks twice; one mask is there in its inverted form alone."""
    images: dict[str, ExpectedImage] = {}
    outside: set[str] = set()
    for folder, split, site, letters in (
        ("train", Split.TRAIN, _ZEISS, "gn"),
        ("val", Split.VAL, _CANON, "V"),
        ("test", Split.TEST, _CANON, "T"),
    ):
        index = {}
        for number in range(1, 9):
            letter = letters[number % len(letters)]
            name = f"{letter}{number:04d}"
            is_glaucoma = letter == "g" if folder == "train" else number % 3 == 0
            path = photo(root, f"REFUGE/{folder}/Images/{name}.jpg")
            mask = nerve_head(path)
            index[str(number)] = {
                "ImgName": f"{name}.jpg", "Fovea_X": 1.5, "Fovea_Y": 2.5, "Size_X": 48, "Size_Y": 40,
                "Label": int(is_glaucoma),
            }  # fmt: skip
            outside |= _versions(root, folder, name, mask)
            if number != 4:
                write(root, f"REFUGE/{folder}/Masks/{name}.png", encoded(mask, ".png"))
                outside.add(f"REFUGE/{folder}/gts/{name}.bmp")
            write(root, f"REFUGE/{folder}/gts/{name}.bmp", encoded(_INVERTED[mask], ".bmp"))
            images[path] = ExpectedImage(
                Label.GLAUCOMA if is_glaucoma else Label.NORMAL,
                split,
                mask=mask,
                others={"site": site, "source_label": str(int(is_glaucoma))},
            )
        write(root, f"REFUGE/{folder}/index.json", json.dumps(index).encode())
    return Expected("refuge_bundled", images, frozenset(outside))


def _versions(root: Path, folder: str, name: str, mask: Mask) -> set[str]:
    return {
        photo(root, f"REFUGE/{folder}/Images_Cropped/{name}.jpg", 24, 24),
        photo(root, f"REFUGE/Images_Square/{name}.jpg", 32, 32),
        write(root, f"REFUGE/{folder}/Masks_Cropped/{name}.png", encoded(mask[:24, :24], ".png")),
        write(root, f"REFUGE/Masks_Square/{name}.png", encoded(mask[:32, :32], ".png")),
    }


def refuge2(root: Path) -> Expected:
    """REFUGE inside; new validation names stand in the old part with other labels; no table for the test."""
    original = _original(root, "REFUGE2/Train/REFUGE1-{}/")
    images = {
        path: ExpectedImage(one.label, Split.TRAIN, mask=one.mask, others=one.others) for path, one in original.items()
    }
    risk: list[list[Cell]] = [["FileName", "Glaucoma Risk"]]
    for number in range(1, 7):
        label = Label.GLAUCOMA if number % 2 else Label.NORMAL
        path = photo(root, f"REFUGE2/Validation/Images/V{number:04d}.jpg")
        mask = nerve_head(path)
        write(root, f"REFUGE2/Validation/Disc_Masks/V{number:04d}.png", encoded(_INVERTED[mask], ".png"))
        risk.append([f"V{number:04d}.jpg", int(label is Label.GLAUCOMA)])
        images[path] = ExpectedImage(label, Split.VAL, mask=mask, others={"site": "REFUGE2 validation"})
    write(root, "REFUGE2/Validation/glaucoma.csv", table(risk))
    write(root, "REFUGE2/Validation/fovea.csv", table([["ImageName", "Fovea_X", "Fovea_Y"], ["V0001.jpg", 1, 2]]))
    for number in range(1, 5):
        path = photo(root, f"REFUGE2/Test/refuge2-test/T{number:04d}.jpg")
        mask = nerve_head(path)
        write(root, f"REFUGE2/Test/Disc_Mask/T{number:04d}.png", encoded(mask, ".png"))
        images[path] = ExpectedImage(Label.UNKNOWN, Split.TEST, mask=mask, others={"site": "REFUGE2 test"})
    return Expected("refuge2", images)
