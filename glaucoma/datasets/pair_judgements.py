"""What people have said of pairs of photographs: the same eye or another one. Kept, and heeded by every later dataset.

A judgement names both photographs by the SHA-256 of their pixels. So it holds whatever the files are called, when the
archive is normalized again, and when datasets are merged.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from glaucoma.datasets.manifest import IMAGE_ID_PATTERN, read_manifest
from glaucoma.errors import DatasetError, NotFoundError, SettingsError, problems
from glaucoma.provenance import digest, exclusive, write_bytes
from glaucoma.schema import Column
from glaucoma.settings import Settings
from glaucoma.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd  # a second, for every flow

JUDGED_NAME = "judged.csv"
"""In a dataset's folder: the judgements that concern two of its photographs, by image_id."""
MAX_BYTES = 32_000_000
_NEAR_NAMES = 3
_HEAD = (
    "# What people have said of pairs of photographs. Written by the flow `judge`; the last entry of a pair counts.\n"
    "# first and second are the SHA-256 of the photographs' decoded pixels.\n"
)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageId = Annotated[str, Field(pattern=IMAGE_ID_PATTERN, max_length=200)]


class Sameness(StrEnum):
    """What a person says of two photographs."""

    SAME = "same"
    """Of one eye, or copies of one photograph: they may not stand in two splits."""
    DIFFERENT = "different"
    """They only look alike."""


class JudgedPair(Settings):
    """A person's word on two photographs of a dataset."""

    first: ImageId = Field(description="image_id of the one photograph.")
    second: ImageId = Field(description="image_id of the other.")
    verdict: Sameness = Field(description="same: of one eye or copies of one photograph. different: they look alike.")

    @model_validator(mode="after")
    def _are_two(self) -> JudgedPair:
        if self.first == self.second:
            raise ValueError(f"first and second are both {self.first!r}: a pair is two photographs")
        return self


class PairJudgement(BaseModel):
    """An entry of the file of judgements."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Sha256 = Field(description="SHA-256 of the pixels; the smaller of the two.")
    second: Sha256
    verdict: Sameness
    by: str = Field(max_length=200, description="Who said so.")
    at: datetime
    dataset: str = Field(max_length=100, description="Key of the dataset version that was looked at.")
    first_id: ImageId = Field(description="The image_id that `first` had there.")
    second_id: ImageId

    @model_validator(mode="after")
    def _in_order(self) -> PairJudgement:
        if self.first >= self.second:
            raise ValueError("first is not smaller than second")
        return self

    @property
    def pair(self) -> tuple[str, str]:
        return self.first, self.second


Judged = Mapping[tuple[str, str], Sameness]
"""What counts: (smaller pixel SHA-256, larger) -> what was said last."""
_FILE = TypeAdapter(list[PairJudgement])


@dataclass(frozen=True)
class Recorded:
    """What `record_judgements` did.

    Attributes:
        new: Entries written.
        unchanged: Pairs of which the same had been said before.
        total: Pairs of which anything has been said.
    """

    file: Path
    new: int
    unchanged: int
    total: int


def pair_of(one: str, other: str) -> tuple[str, str]:
    """The key of `Judged` for two pixel hashes, in whatever order."""
    return (one, other) if one < other else (other, one)


def read_judgements(workspace: Workspace, names: Iterable[str]) -> dict[tuple[str, str], Sameness]:
    """What counts for datasets of these names: several where datasets are merged, of which the latest word counts.

    Raises:
        DatasetError: A file is none of judgements, or too large for one.
    """
    entries: list[tuple[datetime, PairJudgement]] = []
    for name in dict.fromkeys(names):
        found = _read(workspace.judgements(name))
        # In one file the order counts, whatever the clocks of the machines said that wrote it.
        entries += zip(accumulate((entry.at for entry in found), max), found, strict=True)
    return {entry.pair: entry.verdict for _, entry in sorted(entries, key=lambda one: one[0])}


def judgements_sha256(judged: Judged) -> str:
    """Changes with what was said of any pair, and not with who said it and when."""
    return digest(sorted([first, second, str(verdict)] for (first, second), verdict in judged.items()))


def record_judgements(
    dataset: Path, name: str, workspace: Workspace, pairs: Sequence[JudgedPair], *, by: str, at: datetime
) -> Recorded:
    """Writes what a person says of pairs of the dataset in the folder `dataset` into the file for its name.

    What was said before stays in the file; the last entry of a pair counts. The same again writes nothing.

    Raises:
        NotFoundError: An image_id is not in the dataset; all are named, with the nearest there are.
        SettingsError: Two different things are said of one pair, or two photographs of the same pixels are to be
            different.
        DatasetError: The file that is there is none of judgements.
    """
    pixels = _pixel_hashes(read_manifest(dataset), pairs)
    said: dict[tuple[str, str], PairJudgement] = {}
    for pair in pairs:
        entry = _entry(pair, pixels, by, at, dataset.name)
        if said.setdefault(entry.pair, entry).verdict is not entry.verdict:
            raise SettingsError(
                f"The photographs {pair.first} and {pair.second} are said to be both the same and different",
                expected="one verdict for each pair",
                consequence="Nothing was written",
            )
    path = workspace.judgements(name)
    with exclusive(workspace.locks / f"judgements-{name}.lock"):
        before = _read(path)
        last = {entry.pair: entry for entry in before}
        new = [entry for key, entry in said.items() if key not in last or last[key].verdict is not entry.verdict]
        if new:
            _write(path, [*before, *new])
    return Recorded(path, len(new), len(said) - len(new), len({*last, *said}))


def write_judged(folder: Path, rows: Sequence[tuple[str, str, Sameness]]) -> None:
    """Writes `judged.csv` into a dataset's folder, where there is anything to write."""
    if rows:
        import pandas as pd

        frame = pd.DataFrame(sorted(rows), columns=["first", "second", "verdict"])
        write_bytes(folder / JUDGED_NAME, frame.to_csv(index=False, lineterminator="\n").encode())


def judged_different(folder: Path) -> frozenset[tuple[str, str]]:
    """The pairs of image_ids, each in alphabetical order, that a person found to be different; empty without any."""
    path = folder / JUDGED_NAME
    if not path.is_file():
        return frozenset()
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    different = frame[frame["verdict"] == Sameness.DIFFERENT]
    return frozenset(
        pair_of(first, second) for first, second in zip(different["first"], different["second"], strict=True)
    )


def _pixel_hashes(manifest: pd.DataFrame, pairs: Sequence[JudgedPair]) -> dict[str, str]:
    hashes = dict(zip(manifest[Column.IMAGE_ID], manifest[Column.PIXEL_SHA256], strict=True))
    missing = sorted({one for pair in pairs for one in (pair.first, pair.second) if one not in hashes})
    if missing:
        named = "; ".join(_with_nearest(one, list(hashes)) for one in missing[:10])
        raise NotFoundError(
            f"{len(missing)} of the photographs named are not in the dataset: {named}",
            expected="image_ids of its manifest, as suspects.csv gives them",
            consequence="Nothing was written",
        )
    return {one: str(hashes[one]) for pair in pairs for one in (pair.first, pair.second)}


def _with_nearest(name: str, there: list[str]) -> str:
    near = difflib.get_close_matches(name, there, n=_NEAR_NAMES)
    return f"{name} (near: {', '.join(near)})" if near else name


def _entry(pair: JudgedPair, pixels: Mapping[str, str], by: str, at: datetime, key: str) -> PairJudgement:
    one, other = (pixels[pair.first], pair.first), (pixels[pair.second], pair.second)
    if one[0] == other[0]:
        raise SettingsError(
            f"The photographs {pair.first} and {pair.second} have the same pixels",
            expected="two photographs that only look alike",
            consequence="Nothing was written: copies of one photograph are always kept together",
            remedy="take the pair out of pairs",
        )
    (first, first_id), (second, second_id) = sorted([one, other])
    return PairJudgement(
        first=first,
        second=second,
        verdict=pair.verdict,
        by=by,
        at=at,
        dataset=key,
        first_id=first_id,
        second_id=second_id,
    )


def _write(path: Path, entries: Sequence[PairJudgement]) -> None:
    plain: list[Any] = [entry.model_dump(mode="json") for entry in entries]
    write_bytes(path, (_HEAD + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).encode())


def _read(path: Path) -> list[PairJudgement]:
    """All entries, oldest first; none where there is no file."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as handle:
            if os.fstat(handle.fileno()).st_size > MAX_BYTES:
                raise _bad(path, f"it is larger than {MAX_BYTES // 1_000_000} MB")
            found = yaml.load(handle.read(), Loader=_PlainLoader)  # noqa: S506  # a SafeLoader, and without aliases
        entries = _FILE.validate_python([] if found is None else found)
    except (yaml.YAMLError, ValidationError, ValueError, RecursionError) as error:
        raise _bad(path, problems(error)) from error
    return [entry.model_copy(update={"at": _aware(entry.at)}) for entry in entries]


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases, which let a few lines stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), and a file of judgements has none")
        return super().compose_node(parent, index)


def _bad(path: Path, why: str) -> DatasetError:
    return DatasetError(
        f"{path} is no file of judgements: {why}",
        expected="a list of entries as the flow judge writes them",
        consequence="It was neither read nor changed",
        remedy="restore it from a copy, or move it away and judge again",
    )
