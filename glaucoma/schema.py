"""The words of the house: columns, labels, splits, mask values. Every other module takes them from here."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Column(StrEnum):
    """A column of `manifest.csv`: one row per image."""

    IMAGE_ID = "image_id"
    IMAGE = "image"
    """Path of the photograph, relative to the manifest."""
    MASK = "mask"
    """Path of the mask relative to the manifest, or empty."""
    LABEL = "label"
    SOURCE_LABEL = "source_label"
    """The label as the source wrote it."""
    PATIENT_ID = "patient_id"
    """Empty where the source names no patient."""
    EYE = "eye"
    SITE = "site"
    ORIGIN = "origin"
    """The public dataset, or the layout, that the photograph comes from; kept when datasets are merged."""
    SOURCE = "source"
    """Path of the file inside the archive."""
    ORIGINAL_NAME = "original_name"
    """The file's name in the collection that first published it, where the source gathers others' photographs."""
    SOURCE_PART = "source_part"
    """Which half of a side-by-side stereo photograph this is: left or right; empty for the whole file."""
    SPLIT = "split"
    FOLD = "fold"
    """Number of the cross-validation fold whose test part the photograph is in, from 0; empty without folds."""
    GROUP = "group"
    """What a split may not cut: a patient, or photographs found to be the same."""
    WIDTH = "width"
    HEIGHT = "height"
    SHA256 = "sha256"
    """Of the file's bytes."""
    PIXEL_SHA256 = "pixel_sha256"
    """Of the decoded 8-bit RGB pixels, shape included."""
    PERCEPTUAL_HASH = "perceptual_hash"
    """256 bits as 64 hexadecimal digits."""
    MIRRORED_HASH = "mirrored_hash"
    """The perceptual hash of the mirror image, or empty: a mirrored copy is found without opening a file."""
    DISC_STATE = "disc_state"
    CUP_STATE = "cup_state"
    STATED_VERTICAL_CDR = "stated_vertical_cdr"
    """Vertical cup-to-disc ratio as the source states it, 0 to 1, or empty."""
    AGE_YEARS = "age_years"
    IOP_MMHG = "iop_mmhg"
    """Intraocular pressure, or empty."""
    STATED_QUALITY = "stated_quality"
    """The source's own word or score for the image's quality, or empty."""


class GeometryColumn(StrEnum):
    """What a prepared manifest adds: prepared pixel = (original pixel - crop origin) * scale."""

    CROP_X_PX = "crop_x_px"
    CROP_Y_PX = "crop_y_px"
    CROP_WIDTH_PX = "crop_width_px"
    CROP_HEIGHT_PX = "crop_height_px"
    SCALE_X = "scale_x"
    SCALE_Y = "scale_y"


class Label(StrEnum):
    """A diagnosis in the four words of the canonical form."""

    NORMAL = "normal"
    GLAUCOMA = "glaucoma"
    SUSPECT = "suspect"
    UNKNOWN = "unknown"


class Split(StrEnum):
    """Where an image stands; `test` is looked at only when a model is put up for promotion."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class SourcePart(StrEnum):
    """The part of a source file that is one photograph."""

    WHOLE = ""
    LEFT = "left"
    RIGHT = "right"


class Eye(StrEnum):
    """Laterality: right (OD), left (OS), or not known."""

    OD = "OD"
    OS = "OS"
    UNKNOWN = ""


class MaskValue(IntEnum):
    """Grey value of a canonical mask: 8-bit PNG."""

    BACKGROUND = 0
    DISC = 1
    """The rim: disc less cup."""
    CUP = 2


class StructureState(StrEnum):
    """What a mask says of the disc or of the cup."""

    PRESENT = "present"
    ABSENT = "absent"
    """A mask is there and holds no pixel of the structure."""
    NOT_VISIBLE = "not_visible"
    """No statement: no mask, or the reader marked the structure as not visible."""


class Task(StrEnum):
    """What a model is trained to do."""

    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"


class Preset(StrEnum):
    """How much work a run may be: minutes on two cores, hours on one GPU, days on several."""

    SMOKE = "smoke"
    BASE = "base"
    LARGE = "large"
