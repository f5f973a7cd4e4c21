"""Look-alikes of the large collections: AIROGS and its two light versions, Chaksu, SMDG-19."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glaucoma.schema import Eye, Label, Split
from tests.unit.datasets.lookalikes.base import Cell, Expected, ExpectedImage, encoded, nerve_head, table, write
from tests.unit.datasets.lookalikes.base import write_photograph as photo


def airogs(root: Path) -> Expected:
    """One of the parts that the archive comes in, with the table of all of them."""
    rows: list[list[Cell]] = [["challenge_id", "class"]]
    images = {}
    for number in range(40):
        word, label = ("RG", Label.GLAUCOMA) if number % 4 == 0 else ("NRG", Label.NORMAL)
        rows.append([f"TRAIN{number:06d}", word])
        if number < 16:
            images[photo(root, f"{number // 8}/TRAIN{number:06d}.jpg")] = ExpectedImage(
                label, others={"source_label": word}
            )
    write(root, "train_labels.csv", table(rows))
    return Expected("airogs", images)


def airogs_flat(root: Path) -> Expected:
    """All photographs in one folder, in capitals; one of them is not in the table."""
    rows: list[list[Cell]] = [["challenge_id", "class"]]
    images = {}
    for number in range(12):
        word, label = ("RG", Label.GLAUCOMA) if number % 2 else ("NRG", Label.NORMAL)
        known = number != 11
        if known:
            rows.append([f"TRAIN{number:06d}", word])
        images[photo(root, f"some/where/TRAIN{number:06d}.JPG")] = ExpectedImage(label if known else Label.UNKNOWN)
    write(root, "some/where/labels.csv", table(rows))
    return Expected("airogs", images)


def airogs_light_first(root: Path) -> Expected:
    """Every photograph lies there three times, under the same name."""
    images, outside = {}, set()
    for version in ("release-crop", "release-raw", "release-pad"):
        for path, expected in _light(f"{version}/{version}"):
            photo(root, path)
            if version == "release-raw":
                images[path] = expected
            else:
                outside.add(path)
    return Expected("airogs_light", images, frozenset(outside))


def airogs_light_second(root: Path) -> Expected:
    """One version, a table that says the same as the folders, and one photograph under two ids."""
    images = {}
    rows: list[list[Cell]] = [["id", "file_name", "label", "label_binary", "folder"]]
    for path, expected in _light("anything"):
        images[photo(root, path)] = expected
        split, word, name = Path(path).parts[-3:]
        rows.append([int(Path(name).stem.split("-")[-1]), name, word, int(word == "RG"), split])
    first, second = sorted(path for path in images if "/train/RG/" in path)[:2]
    write(root, second, (root / first).read_bytes())
    write(root, "anything/metadata.csv", table(rows))
    return Expected("airogs_light", images)


def _light(root: str) -> list[tuple[str, ExpectedImage]]:
    found = []
    number = 0
    for folder, split in (("train", Split.TRAIN), ("validation", Split.VAL), ("test", Split.TEST)):
        for word, label in (("RG", Label.GLAUCOMA), ("NRG", Label.NORMAL)):
            for _ in range(3):
                number += 1
                path = f"{root}/{folder}/{word}/EyePACS-TRAIN-{word}-{number}.jpg"
                found.append((path, ExpectedImage(label, split, others={"source_label": word})))
    return found


def chaksu(root: Path) -> Expected:
    """Three cameras (one misspelt), names twice over, two headings for the verdict, four fusions of five experts."""
    images, outside = {}, set()
    heads = {("Train", "Bosch"): "Majority Decision", ("Test", "Remidio"): "Glaucoma Decision"}
    for part, split in (("Train", Split.TRAIN), ("Test", Split.TEST)):
        for camera, ending, listed in (("Bosch", "JPG", "jpg"), ("Forus", "png", "png"), ("Remidio", "JPG", "tif")):
            rows: list[list[Cell]] = [["Images", "Expert.1", heads.get((part, camera), "Majority Decision")]]
            for number in range(1, 5):
                name = f"Image10{number}"
                size = (32, 44) if camera == "Remidio" else (48, 40)
                path = photo(root, f"{part}/1.0_Original_Fundus_Images/{camera}/{name}.{ending}", *size)
                suspect = number % 2 == 0
                word = "GLAUCOMA  SUSUPECT" if suspect else "NORMAL"
                rows.append([f"{name}.{listed}-{name}-1.{listed}", "NORMAL", word])
                mask = nerve_head(path, *size)
                folder = "Remedio" if camera == "Remidio" and part == "Train" else camera
                for fusion in ("Majority", "Mean", "Median", "STAPLE"):
                    base = f"{part}/5.0_OD_OC_Mean_Median_Majority_STAPLE/{folder}"
                    for structure, pixels in (("Disc", mask > 0), ("cup" if part == "Test" else "Cup", mask == 2)):
                        moved = pixels if fusion == "Majority" else np.roll(pixels, 2, axis=1)
                        content = encoded(moved.astype(np.uint8) * 255, ".tif")
                        file = write(root, f"{base}/{structure}/{fusion}/{name}-1.tif", content)
                        if fusion != "Majority":
                            outside.add(file)
                images[path] = ExpectedImage(
                    Label.SUSPECT if suspect else Label.NORMAL,
                    split,
                    mask=mask,
                    others={"site": camera, "source_label": word},
                )
            table_name = f"Glaucoma_Decision_Comparison_{camera}_majority.csv"
            write(root, f"{part}/6.0_Glaucoma_Decision/{table_name}", table(rows))
            other = [rows[0], *([row[0], row[1], "NORMAL"] for row in rows[1:])]
            write(root, f"{part}/6.0_Glaucoma_Decision/Expert 1/{camera}.csv", table(other))
    return Expected("chaksu", images, frozenset(outside))


def smdg(root: Path) -> Expected:
    """Doubled folders, cups that are not visible, and one patient number in two collections."""
    heads = ["names", "types", "original_name", "patient_id", "eye", "age", "fundus", "fundus_od_seg", "fundus_oc_seg"]
    rows: list[list[Cell]] = [[*heads, "bv_seg"]]
    images, outside = {}, set()
    cases = [
        # name, types, original name, patient id, eye, disc and cup in the table, then patient, origin and site expected
        ("BEH-1", 0, "IM000165 (3).JPG", "", "", "", "", "BEH-IM000165", "BEH", "BEH"),
        ("BEH-2", 1, "IM000165 (4).JPG", "", "", "", "", "BEH-IM000165", "BEH", "BEH"),
        ("G1020-7", 1, "image_7.jpg", "", "", "yes", "Not Visible", "", "G1020", "G1020"),
        ("G1020-8", 0, "image_8.jpg", "", "", "yes", "yes", "", "G1020", "G1020"),
        ("ORIGA-3", 0, "003.jpg", "", "OS", "yes", "yes", "", "ORIGA", "ORIGA"),
        ("ORIGA-4", 1, "004.jpg", "", "OD", "yes", "yes", "", "ORIGA", "ORIGA"),
        ("PAPILA-12", -1, "RET002OD.jpg", "2", "OD", "yes", "yes", "PAPILA-2", "PAPILA", "PAPILA"),
        ("PAPILA-13", 0, "RET005OS.jpg", "", "OS", "yes", "yes", "PAPILA-RET005", "PAPILA", "PAPILA"),
        ("LES-AV-2", 0, "2.png", "2", "OD", "", "", "LES-AV-2", "LES-AV", "LES-AV"),
        ("REFUGE1-TRAIN-5", 1, "g0005.jpg", "", "", "yes", "yes", "", "REFUGE1", "REFUGE1-TRAIN"),
        ("OIA-ODIR-TEST-ONLINE-9", 0, "9_left.jpg", "", "OS", "", "", "OIA-ODIR-9", "OIA-ODIR", "OIA-ODIR-TEST-ONLINE"),
    ]
    labels = {0: Label.NORMAL, 1: Label.GLAUCOMA, -1: Label.SUSPECT}
    for name, kind, original, number, eye, disc, cup, patient, origin, site in cases:
        path = photo(root, f"full-fundus/full-fundus/{name}.png")
        mask = nerve_head(path, cup=cup == "yes") if disc else None
        cells = {"optic-disc": disc, "optic-cup": cup}
        for folder, value in cells.items():
            if value == "yes" and mask is not None:
                pixels = mask > 0 if folder == "optic-disc" else mask == 2
                write(root, f"{folder}/{folder}/{name}.png", encoded(pixels.astype(np.uint8) * 255, ".png"))
                cells[folder] = f"/{folder}/{folder}/{name}.png"
        age = 61.0 if origin == "PAPILA" else None
        fundus = f"/full-fundus/full-fundus/{name}.png"
        rows.append([name, kind, original, number, eye, age, fundus, *cells.values(), ""])
        images[path] = ExpectedImage(
            labels[kind],
            patient_id=patient,
            eye=Eye(eye) if eye else Eye.UNKNOWN,
            mask=mask,
            others={
                "origin": origin, "site": site, "original_name": original, "source_label": str(kind), "age_years": age,
            },
        )  # fmt: skip
    rows.append(["ORIGA-5", 0, "005.jpg", "", "", None, "/full-fundus/full-fundus/ORIGA-5.png", "", "", ""])
    images["full-fundus/full-fundus/ORIGA-5.png"] = ExpectedImage(Label.UNKNOWN)
    outside.add(photo(root, "blood-vessel/blood-vessel/BEH-1.png"))
    write(root, "metadata - standardized.csv", table(rows))
    return Expected("smdg", images, frozenset(outside))
