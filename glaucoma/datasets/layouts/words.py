"""The words by which sources name labels, splits, eyes and folders, in one place for every layout."""

from __future__ import annotations

import re
from functools import lru_cache

from glaucoma.schema import Eye, Label, Split

_LABELS: dict[Label, tuple[str, ...]] = {
    Label.NORMAL: (
        "normal", "normals", "healthy", "nonglaucoma", "nonglaucomatous", "noglaucoma", "notglaucoma", "negative",
        "control", "controls", "nrg", "gon-", "n", "no", "false", "0",
    ),
    Label.GLAUCOMA: (
        "glaucoma", "glaucomatous", "glaucomas", "positive", "referableglaucoma", "rg", "gon+", "g", "yes", "true", "1",
    ),
    Label.SUSPECT: (
        "suspect", "suspects", "suspicious", "suspected", "glaucomasuspect", "glaucomasuspects", "glaucomasuspected",
        "suspectedglaucoma", "suspiciousglaucoma", "glaucomasuspicious", "suspectglaucoma",
    ),
}  # fmt: skip
_SPLITS: dict[Split, tuple[str, ...]] = {
    Split.TRAIN: ("train", "training", "trainset", "trainingset", "traindata"),
    Split.VAL: ("val", "valid", "validation", "valset", "validationset", "dev"),
    Split.TEST: ("test", "testing", "testset", "testdata"),
}
_EYES: dict[Eye, tuple[str, ...]] = {Eye.OD: ("od", "r", "right", "re"), Eye.OS: ("os", "l", "left", "le")}
_IMAGE_FOLDERS = frozenset(["image", "images", "img", "imgs", "photo", "photos", "fundus", "fundusimages", "originals"])
_MASK_FOLDERS = frozenset(
    ["mask", "masks", "gt", "groundtruth", "groundtruths", "annotation", "annotations", "label", "labels",
     "segmentation", "segmentations", "discandcupmasks", "disccupmasks"]
)  # fmt: skip

_LABEL_OF = {word: label for label, words in _LABELS.items() for word in words}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_EYE_OF = {word: eye for eye, words in _EYES.items() for word in words}
_SHORT = 2

# Names come from strangers: no place here may match one text in two ways, or a name could take for ever.
_EYE_IN_NAME = re.compile(r"^(?P<patient>.*[^\s_-])[\s_-]+(?P<eye>OD|OS)(?:[\s_-][\w\s-]*\w)?$", re.IGNORECASE)
_SIDE_AT_END = re.compile(r"^(?P<patient>.*[^\s_-])[\s_-]+(?P<eye>L|R|left|right)$", re.IGNORECASE)
_SIDE_AND_VISIT = re.compile(r"^(?P<patient>.*\d)[\s_-]+(?P<eye>L|R|left|right)[\s_-]+\d{1,3}$", re.IGNORECASE)
"""`P01_L_2`; what stands before must end in a digit, for in `IMG_R_001` it is no patient."""
_COPY_AT_END = re.compile(r"^(?P<first>.*\S)\s*\(\d+\)$")


def label_of(word: str, *, folder: bool = False) -> Label | None:
    """The label that a source's word means, or None where it is none of the known ones.

    Args:
        folder: The word is a folder's name: one of one letter or digit says nothing there.
    """
    key = _key(word)
    return None if folder and len(key) < _SHORT else _LABEL_OF.get(key)


def split_of(word: str) -> Split | None:
    """The split that a word means (`Training set`, `val`, ..), or None."""
    return _SPLIT_OF.get(_key(word))


def eye_of(word: str) -> Eye:
    """The eye that a word means; unknown where it means none."""
    return _EYE_OF.get(_key(word), Eye.UNKNOWN)


def is_image_folder(word: str) -> bool:
    """True for the usual names of a folder of photographs."""
    return _key(word) in _IMAGE_FOLDERS


def is_mask_folder(word: str) -> bool:
    """True for the usual names of a folder of masks."""
    return _key(word) in _MASK_FOLDERS


def patient_and_eye(stem: str) -> tuple[str, Eye]:
    """Patient and eye as a file's name tells them, each empty where it does not.

    Three conventions are known: `<patient>_OD` or `<patient>_OS`, perhaps with more behind it, `<patient>_L` or `_R` at
    the end, and the same with a short number behind it where the patient ends in a digit. `name (2)` belongs to
    the patient of `name`. To take two patients for one costs nothing but a coarser split; to take one for two would be
    a leak.
    """
    copy = _COPY_AT_END.match(stem)
    base = copy["first"] if copy else stem
    match = _EYE_IN_NAME.match(base) or _SIDE_AT_END.match(base) or _SIDE_AND_VISIT.match(base)
    if match:
        return match["patient"], eye_of(match["eye"])
    return (base, Eye.UNKNOWN) if copy else ("", Eye.UNKNOWN)


@lru_cache(maxsize=4096)
def _key(word: str) -> str:
    """Letter case, and blanks, dashes and underscores between letters, do not count; a sign at the end does."""
    key = re.sub(r"(?<=\w)[\s-]+(?=\w)", "", word.strip().casefold().replace("_", "-"))
    return key.removesuffix(".0")  # a whole number that a spreadsheet kept as a decimal
