"""What a layout is: it says whether it knows a tree, and lists its photographs with what the source says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from glaucoma.datasets.masks import CanonicalMask
from glaucoma.datasets.tree import Tree
from glaucoma.schema import Column, Eye, Label, SourcePart, Split


@dataclass(frozen=True)
class SourceMask:
    """Where a photograph's mask comes from, and how it is read.

    Args:
        sources: Files inside the archive that it is made from.
        read: Gives the mask in canonical values; raises `DatasetError` where it cannot be understood.
    """

    sources: tuple[PurePosixPath, ...]
    read: Callable[[], CanonicalMask]


@dataclass(frozen=True)
class SourceImage:
    """A photograph as its source describes it.

    Args:
        source: Path inside the archive. One that is not there (a table's row without a file) is set aside by name.
        label: In the four words of the canonical form.
        source_label: As the source wrote it, empty where it says nothing.
        patient_id: Empty where the source names no patient.
        site: Camera, hospital or collection, empty where not known.
        split: As the source gives it, or None.
        patient_from_name: The patient is read off the file's name and not stated by the source.
        part: The half of a side-by-side stereo photograph that is meant, the whole file otherwise.
        origin: The public dataset, where the layout or its tables tell; empty for the layout's own name.
        original_name: The file's name in that public dataset, where the source has renamed it.
        stated_vertical_cdr: Vertical cup-to-disc ratio that the source states, 0 to 1.
        age_years: Age at the photograph.
        iop_mmhg: Intraocular pressure.
        stated_quality: The source's word or score for the image's quality.
        unused_numbers: What stands where a number should, by column, and could not be taken for it.
    """

    source: PurePosixPath
    label: Label = Label.UNKNOWN
    source_label: str = ""
    patient_id: str = ""
    eye: Eye = Eye.UNKNOWN
    site: str = ""
    split: Split | None = None
    mask: SourceMask | None = None
    patient_from_name: bool = False
    part: SourcePart = SourcePart.WHOLE
    origin: str = ""
    original_name: str = ""
    stated_vertical_cdr: float | None = None
    age_years: float | None = None
    iop_mmhg: float | None = None
    stated_quality: str = ""
    unused_numbers: tuple[tuple[Column, str], ...] = ()


@dataclass(frozen=True)
class Published:
    """How many photographs a public dataset is said to hold, by those who made it.

    Args:
        images: Of the layout's photographs, duplicated partitions and versions counted once.
        by_label: Of each label; empty where that is not known.
    """

    images: int
    by_label: Mapping[Label, int] = field(default_factory=dict)


class Layout(Protocol):
    """A way in which datasets lie on disk. One is added by writing it and naming it in `LAYOUTS`."""

    name: str
    """What the setting `layout` calls it."""
    generic: bool
    """True where many datasets lie so; a special layout that matches wins over it."""
    looks_like: str
    """The layout in one line, for the message that is shown when none matches."""

    def recognise(self, tree: Tree) -> str | None:
        """A sentence of evidence, from names and tables alone, or None; opens no image."""

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs of a tree that `recognise` knew; image files that it leaves out are set aside by name."""


@runtime_checkable
class PublishedLayout(Protocol):
    """A layout of one public dataset, whose counts are known: what normalize found is compared with them.

    Optional: a layout without the attribute `published` is compared with nothing.
    """

    @property
    def published(self) -> Published:
        """The counts as they were published."""


@runtime_checkable
class LeavesOut(Protocol):
    """A layout that knows why it takes some image files neither for photographs nor for masks.

    Optional: without it, every such file is set aside as no photograph or mask of the layout.
    """

    def left_out(self, tree: Tree) -> Mapping[PurePosixPath, str]:
        """Image file -> the reason, for those that are duplicates or other versions; the rest need none."""
