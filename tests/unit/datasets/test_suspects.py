from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.grouping import Grouping
from glaucoma.datasets.identity import fingerprint
from glaucoma.datasets.links import Rung
from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.nearest import NearPair
from glaucoma.datasets.pair_judgements import JudgedPair, Sameness, judged_different, record_judgements
from glaucoma.datasets.suspects import MOST_SHOWN, Status, read_suspects, write_suspects
from glaucoma.errors import LeakageError
from glaucoma.provenance import StageOutput
from glaucoma.workspace import Workspace

Photo = Callable[..., bytes]
Normalized = Callable[..., StageOutput]


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.fixture
def alike(photo: Photo, tmp_path: Path) -> Callable[[int, int, int], bytes]:
    """A copy of photograph `seed`, cut at its edges so that its hash is from `low` to `high` bits away."""

    def make(seed: int, low: int, high: int) -> bytes:
        original = cv2.imdecode(np.frombuffer(photo(seed, 300), np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(tmp_path / "original.png"), original)
        looks = fingerprint(tmp_path / "original.png").perceptual_hash
        for cut in range(1, 60):
            cv2.imwrite(str(tmp_path / "copy.png"), original[cut // 2 :, (cut + 1) // 2 :])
            if low <= distance(fingerprint(tmp_path / "copy.png").perceptual_hash, looks) <= high:
                return (tmp_path / "copy.png").read_bytes()
        raise AssertionError(f"no cut of photograph {seed} is {low} to {high} bits away")

    return make


@pytest.fixture
def with_pairs(photo: Photo, alike: Callable[[int, int, int], bytes]) -> dict[str, bytes]:
    """Ten photographs of each class; `suspect` is like `normal/1`, and `linked` like `normal/2`, and `glaucoma`."""
    files = {f"normal/{n}.png": photo(n, 300) for n in range(10)}
    files |= {f"glaucoma/{n}.png": photo(100 + n, 300) for n in range(10)}
    return files | {"normal/suspect.png": alike(1, 17, 28), "glaucoma/linked.png": alike(2, 4, 16)}


def test_pairs_that_look_alike_are_in_a_table_and_on_a_page(
    normalized: Normalized, with_pairs: dict[str, bytes]
) -> None:
    output = normalized(with_pairs)
    details = output.record.details
    suspected, linked = read_suspects(output.folder)
    assert (suspected.status, suspected.first, suspected.second) == (Status.SUSPECTED, "normal-1", "suspect")
    assert (linked.status, linked.first, linked.second) == (Status.LINKED, "linked", "normal-2")
    assert "two labels" in linked.notes
    assert 17 <= suspected.distance_bits <= 28
    assert details["linked"]["looks"] == 1
    assert details["suspects"] == {
        "to_judge": 1,
        "linked_by_looks": 1,
        "listed": 2,
        "shown": 2,
        "table": "suspects.csv",
        "page": "suspects.html",
    }
    page = (output.folder / "suspects.html").read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        assert max(pixels.shape) == 280
    assert "http" not in page.replace("http-equiv", "")


def test_a_dataset_without_such_pairs_has_neither(normalized: Normalized, with_pairs: dict[str, bytes]) -> None:
    del with_pairs["normal/suspect.png"], with_pairs["glaucoma/linked.png"]
    output = normalized(with_pairs)
    assert sorted(path.name for path in output.folder.iterdir()) == ["dataset.json", "images", "manifest.csv", "masks"]
    assert output.record.details["suspects"]["page"] is None
    assert read_suspects(output.folder) == []


def test_judged_pairs_are_heeded_when_the_archive_is_normalized_again(
    normalized: Normalized, with_pairs: dict[str, bytes], workspace: Workspace
) -> None:
    before = normalized(with_pairs)
    pairs = [
        JudgedPair(first="suspect", second="normal-1", verdict=Sameness.SAME),
        JudgedPair(first="linked", second="normal-2", verdict=Sameness.DIFFERENT),
    ]
    record_judgements(before.folder, "trial", workspace, pairs, by="A", at=datetime(2026, 1, 1, tzinfo=UTC))
    after = normalized(with_pairs)
    assert after.key != before.key
    assert after.record.inputs["judgements"]
    group = read_manifest(after.folder).set_index("image_id")["group"]
    assert group["suspect"] == group["normal-1"]
    assert group["linked"] != group["normal-2"]
    assert read_suspects(after.folder) == []
    assert after.record.details["judgements"] == {"same": 1, "different": 1, "overruled": []}
    assert judged_different(after.folder) == {("linked", "normal-2")}
    assert normalized(with_pairs).reused


def test_given_splits_with_a_near_duplicate_on_both_sides_name_the_pair_its_rung_and_distance(
    normalized: Normalized, with_pairs: dict[str, bytes]
) -> None:
    files = {
        f"{'test' if number % 3 == 0 else 'train'}/{path}": content
        for number, (path, content) in enumerate(with_pairs.items())
        if "linked" not in path
    }
    here = next(path for path in files if path.endswith("normal/2.png"))
    there = "test" if here.startswith("train") else "train"
    with pytest.raises(
        LeakageError, match=r"linked in .* and \S*normal-2 in .*they look the same, \d+ of 256 bits apart\)"
    ):
        normalized(files | {f"{there}/normal/linked.png": with_pairs["glaucoma/linked.png"]})


def grouping(pairs: list[NearPair], linked: list[NearPair], total: int) -> Grouping:
    return Grouping(
        groups=(),
        links=(),
        linked=dict.fromkeys(Rung, 0),
        shared_patients=0,
        suspects=tuple(pairs),
        lookalikes=tuple(linked),
        suspects_total=total,
        lookalikes_total=len(linked),
    )


def test_of_many_pairs_the_oddest_are_shown_and_the_number_of_all_is_told(tmp_path: Path) -> None:
    ids = [f"i{n:03d}" for n in range(130)]
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 20, 3), 90, np.uint8))
    rows = pd.DataFrame(
        {
            "image_id": ids,
            "image": "a.png",
            "label": ["normal"] * 129 + ["glaucoma"],
            "patient_id": "",
            "split": "train",
            "source": "a.png",
        }
    )
    pairs = [NearPair("i000", one, 20, n == 5) for n, one in enumerate(ids[1:])]
    details = write_suspects(tmp_path, "trial", rows, grouping(pairs, [], 7000))
    assert (details["suspects"]["to_judge"], details["suspects"]["listed"], details["suspects"]["shown"]) == (
        7000,
        129,
        MOST_SHOWN,
    )
    page = (tmp_path / "suspects.html").read_text()
    assert f"Shown: {MOST_SHOWN} of 7000" in page
    assert page.count('class="turned"') == 1
    assert page.index('data-second="i129"') < page.index('data-second="i001"')
    assert len(read_suspects(tmp_path)) == 129


def test_hostile_words_stay_words_on_the_page_and_in_the_table(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>{{ 7*7 }},=1+1\n'
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 20, 3), 90, np.uint8))
    rows = pd.DataFrame(
        {
            "image_id": ["a", "null"],
            "image": "a.png",
            "label": "normal",
            "patient_id": nasty,
            "split": "val",
            "source": nasty,
        }
    )
    write_suspects(tmp_path, "trial", rows, grouping([NearPair("a", "null", 20, False)], [], 1))
    page = (tmp_path / "suspects.html").read_text()
    assert "<script>alert" not in page
    assert html.escape("<script>alert(1)</script>{{ 7*7 }}") in page
    (pair,) = read_suspects(tmp_path)
    assert (pair.first_source, pair.second) == (nasty, "null")


def test_the_same_photographs_give_the_same_page(normalized: Normalized, with_pairs: dict[str, bytes]) -> None:
    first = normalized(with_pairs)
    pages = [(first.folder / name).read_bytes() for name in ("suspects.html", "suspects.csv")]
    for path in sorted(first.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    first.folder.rmdir()
    second = normalized(with_pairs)
    assert not second.reused
    assert [(second.folder / name).read_bytes() for name in ("suspects.html", "suspects.csv")] == pages


def splits_of(output: StageOutput) -> pd.DataFrame:
    return read_manifest(output.folder)[["image_id", "split", "fold", "group", "label"]]


def test_each_fold_is_a_dataset_of_the_same_folds_and_costs_no_copy(
    normalized: Normalized, with_pairs: dict[str, bytes]
) -> None:
    made: list[Any] = [
        normalized(with_pairs, split={"scheme": "k_fold", "folds": 3, "fold": fold}) for fold in range(3)
    ]
    tables = [splits_of(output) for output in made]
    assert len({output.key for output in made}) == 3
    assert all((table["fold"] == tables[0]["fold"]).all() for table in tables)
    for fold, table in enumerate(tables):
        assert ((table["split"] == "test") == (table["fold"] == str(fold))).all()
        assert set(table[table["split"] == "test"]["label"]) == {"normal", "glaucoma"}
    first, second = (output.folder / "images" / "suspect.png" for output in made[:2])
    assert first.samefile(second)


def test_a_held_out_site_is_the_test(normalized: Normalized, photo: Photo) -> None:
    files = {f"images/{n}.png": photo(n) for n in range(24)}
    rows = "".join(f"{n}.png,{n % 2},{('zeiss', 'canon', 'topcon')[n // 8]}\n" for n in range(24))
    files["labels.csv"] = f"image,label,site\n{rows}".encode()
    output = normalized(files, split={"scheme": "leave_one_site_out", "held_out_site": "canon"})
    table = read_manifest(output.folder)
    assert ((table["split"] == "test") == (table["site"] == "canon")).all()
    assert (
        json.loads(output.folder.joinpath("dataset.json").read_text())["settings"]["split"]["held_out_site"] == "canon"
    )
