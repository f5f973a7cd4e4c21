"""Look-alikes of collections without disc masks: ACRIMA, BEH, FIVES, GRAPE, HYGD, LAG."""

from __future__ import annotations

import io
from pathlib import Path

from glaucoma.schema import Eye, Label, Split
from tests.unit.datasets.lookalikes.base import Cell, Expected, ExpectedImage, encoded, nerve_head, table, write
from tests.unit.datasets.lookalikes.base import write_photograph as photo

THUMBS = b"\xd0\xcf\x11\xe0 not a picture"


def acrima(root: Path) -> Expected:
    """The ending is in capitals for some files; a desktop left its folder behind."""
    images = {}
    for number in range(1, 9):
        images[photo(root, f"Database/Images/Im{number:03d}_ACRIMA.{'JPG' if number == 3 else 'jpg'}")] = ExpectedImage(
            Label.NORMAL, others={"source_label": "", "site": "ACRIMA"}
        )
        images[photo(root, f"Database/Images/Im{number + 308}_g_ACRIMA.jpg")] = ExpectedImage(
            Label.GLAUCOMA, others={"source_label": "g"}
        )
    write(root, "__MACOSX/Database/Images/._Im001_ACRIMA.jpg", THUMBS)
    return Expected("acrima", images)


def beh(root: Path) -> Expected:
    """One case photographed several times, its files told apart by a number in brackets."""
    images = {}
    for number, word in enumerate(("normal", "normal", "glaucoma", "glaucoma", "normal", "glaucoma")):
        label = Label.GLAUCOMA if word == "glaucoma" else Label.NORMAL
        case = f"IM{number * 55:06d}"
        side, eye = (("_L", Eye.OS), ("_R", Eye.OD), ("", Eye.UNKNOWN))[number % 3]
        for copy in ("", " (2)", " (3)"):
            images[photo(root, f"BEH/data/{word}/{case}{side}{copy}.JPG")] = ExpectedImage(
                label, patient_id=case, eye=eye, others={"source_label": word, "patient_from_name": True}
            )
    write(root, "BEH/data/normal/Thumbs.db", THUMBS)
    return Expected("beh", images)


def fives(root: Path) -> Expected:
    """`1_A.png` stands in train and in test and is not the same; the other masks are vessels."""
    images, outside = {}, set()
    labels = {"A": Label.UNKNOWN, "D": Label.UNKNOWN, "G": Label.GLAUCOMA, "N": Label.NORMAL}
    sheets: dict[str, list[list[Cell]]] = {}
    for folder, split in (("train", Split.TRAIN), ("test", Split.TEST)):
        rows: list[list[Cell]] = [["Disease", "Number", "IC", "Blur", "LC"]]
        for number in range(1, 4):
            for letter, label in labels.items():
                name = f"{number}_{letter}.png"
                path = photo(root, f"FIVES A Fundus Image Dataset/{folder}/Original/{name}")
                images[path] = ExpectedImage(
                    label, split, others={"source_label": letter, "stated_quality": f"ic=1 blur={number % 2} lc=1"}
                )
                vessels = f"FIVES A Fundus Image Dataset/{folder}/Ground truth/{name}"
                outside.add(write(root, vessels, encoded(nerve_head(path) * 127, ".png")))
                rows.append([letter, number, 1, number % 2, 1])
        sheets[folder.title()] = rows
        write(root, f"FIVES A Fundus Image Dataset/{folder}/Original/Thumbs.db", THUMBS)
    write(root, "FIVES A Fundus Image Dataset/Quality Assessment.xlsx", workbook_of(sheets))
    return Expected("fives", images, frozenset(outside))


def grape(root: Path) -> Expected:
    """Two header rows, visits without a photograph, ages at the baseline only, and crops of the same names."""
    top: list[Cell] = ["Subject Number", "Laterality", "Age", "Gender", "IOP", "CCT", "Category of Glaucoma"]
    baseline: list[list[Cell]] = [
        [*top, "OCT RNFL thickness", None, "Corresponding CFP", "Camera", "VF", None],
        [*[None] * 7, "Mean", "S", None, None, "0", "1"],
    ]
    follow_up: list[list[Cell]] = [
        ["Subject Number", "Laterality", "Visit Number", "Interval Years", "IOP", "Corresponding CFP", "Camera", "VF"],
        [*[None] * 7, "0"],
    ]
    images, outside = {}, set()
    for subject in range(1, 6):
        for eye in ("OD", "OS"):
            first, later = f"{subject}_{eye}_1.jpg", f"{subject}_{eye}_3.jpg"
            baseline.append([subject, eye, 40.0 + subject, "F", 15.5, 540, "OAG", 90.1, 100, first, "TRC-NW8", 25, 26])
            follow_up.append([subject, eye, 2, 0.5, 14, "/", "/", 27])
            follow_up.append([subject, eye, 3, 1.25, 17, later, "CR-2", 27])
            for name, age, pressure, camera in ((first, 0.0, 15.5, "TRC-NW8"), (later, 1.25, 17.0, "CR-2")):
                images[photo(root, f"CFPs/CFPs/{name}")] = ExpectedImage(
                    Label.GLAUCOMA,
                    patient_id=str(subject),
                    eye=Eye(eye),
                    others={
                        "age_years": 40 + subject + age,
                        "iop_mmhg": pressure,
                        "site": camera,
                        "source_label": "OAG",
                    },
                )
                outside.add(photo(root, f"ROI images/{name}", 30, 30))
                write(root, f"json/{Path(name).stem}.json", b'{"shapes": [], "imageHeight": 30, "imageWidth": 30}')
    sheets = {"Baseline": baseline, "Follow-up": follow_up}
    write(root, "VF and clinical information.xlsx", workbook_of(sheets))
    return Expected("grape", images, frozenset(outside))


def hygd(root: Path) -> Expected:
    """One photograph stands twice under two patients; another is named by the table and is not there."""
    rows: list[list[Cell]] = [["Image Name", "Patient", "Label", "Quality Score"]]
    images = {}
    for patient in range(12):
        word, label = ("GON+", Label.GLAUCOMA) if patient % 3 else ("GON-", Label.NORMAL)
        for number in range(1 + patient % 2):
            name = f"{patient}_{number}.jpg"
            rows.append([name, patient, word, f"{3.5 + patient / 10:.2f}"])
            images[photo(root, f"Images/{name}")] = ExpectedImage(
                label,
                patient_id=str(patient),
                others={"source_label": word, "stated_quality": f"{3.5 + patient / 10:.2f}"},
            )
    write(root, "Images/8_0.jpg", (root / "Images/4_0.jpg").read_bytes())
    rows.append(["99_0.jpg", 99, "GON+", "5.0"])
    images["99_0.jpg"] = ExpectedImage(Label.UNKNOWN)
    write(root, "Labels.csv", table(rows))
    return Expected("hygd", images)


def lag(root: Path) -> Expected:
    """Attention maps beside, a label in each text file, one of them against its folder."""
    images, outside = {}, set()
    for folder, label, word in (
        ("non_glaucoma", Label.NORMAL, "0"),
        ("suspicious_glaucoma", Label.GLAUCOMA, "1"),
    ):
        for number in range(1, 7):
            contradicted = folder == "non_glaucoma" and number == 6
            path = photo(root, f"LAG/{folder}/image/{number:04d}.jpg")
            images[path] = ExpectedImage(
                Label.UNKNOWN if contradicted else label,
                others={"source_label": f"{folder}, label 1" if contradicted else folder},
            )
            outside.add(photo(root, f"LAG/{folder}/attention_map/{number:04d}.jpg"))
            write(root, f"LAG/{folder}/label/{number:04d}.txt", f"{'1' if contradicted else word}\n".encode())
    return Expected("lag", images, frozenset(outside))


def workbook_of(sheets: dict[str, list[list[Cell]]]) -> bytes:
    """An .xlsx file of several sheets."""
    import openpyxl

    book, buffer = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(buffer)
    return buffer.getvalue()
