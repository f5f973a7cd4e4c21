from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glaucoma.datasets.leakage import Leak, leakage_columns, nearest_across
from glaucoma.schema import Column


def flipped(text: str, bits: int) -> str:
    """The 256-bit hash with its lowest `bits` bits flipped."""
    return f"{int(text, 16) ^ ((1 << bits) - 1):064x}"


def table(**columns: list[str]) -> pd.DataFrame:
    number = len(next(iter(columns.values())))
    rng = np.random.default_rng(7)
    base = {
        Column.IMAGE_ID: [f"im{index}" for index in range(number)],
        Column.PATIENT_ID: [f"p{index}" for index in range(number)],
        Column.GROUP: [f"g{index}" for index in range(number)],
        Column.SHA256: [f"{index:064x}" for index in range(number)],
        Column.PIXEL_SHA256: [f"{index:064x}" for index in range(number)],
        Column.PERCEPTUAL_HASH: [rng.bytes(32).hex() for _ in range(number)],
        Column.LABEL: ["normal"] * number,
        Column.SPLIT: ["train"] * number,
    }
    return pd.DataFrame({str(name): values for name, values in {**base, **columns}.items()})


@pytest.mark.parametrize(
    ("column", "leak"),
    [
        (Column.PATIENT_ID, Leak.PATIENT_SPLITS),
        (Column.GROUP, Leak.GROUP_SPLITS),
        (Column.SHA256, Leak.BYTES_SPLITS),
        (Column.PIXEL_SHA256, Leak.PIXELS_SPLITS),
    ],
)
def test_what_stands_in_two_splits_is_counted_on_each_of_its_images(column: Column, leak: Leak) -> None:
    frame = table(split=["train", "val", "train", "test"])
    frame.loc[1, str(column)] = frame.loc[0, str(column)]
    assert list(leakage_columns(frame)[str(leak)]) == [2, 2, 1, 1]


def test_images_without_a_patient_id_leak_no_patient() -> None:
    frame = table(patient_id=["", "", ""], split=["train", "val", "test"])
    assert list(leakage_columns(frame)[Leak.PATIENT_SPLITS]) == [1, 1, 1]


def test_a_patient_may_have_many_images_in_one_split() -> None:
    frame = table(patient_id=["a", "a", "b"], split=["train", "train", "val"])
    assert list(leakage_columns(frame)[Leak.PATIENT_SPLITS]) == [1, 1, 1]


def test_copies_with_different_labels_are_counted() -> None:
    frame = table(pixel_sha256=["a" * 64, "a" * 64, "b" * 64], label=["normal", "glaucoma", "normal"])
    assert list(leakage_columns(frame)[Leak.LABELS_OF_PIXELS]) == [2, 2, 1]


def test_the_nearest_image_of_another_split_is_found_with_its_distance() -> None:
    frame = table(split=["train", "train", "val", "test"])
    frame.loc[2, Column.PERCEPTUAL_HASH.value] = flipped(frame.loc[0, Column.PERCEPTUAL_HASH.value], 9)
    found = leakage_columns(frame)
    assert found.loc[[0, 2], Leak.LOOKALIKE_BITS.value].tolist() == [9, 9]
    assert found.loc[[0, 2], Leak.LOOKALIKE_ID.value].tolist() == ["im2", "im0"]


def test_lookalikes_within_one_split_do_not_count() -> None:
    same = "0" * 64
    nearest = nearest_across([same, same, "f" * 64], ["train", "train", "val"])
    assert list(nearest.bits) == [256, 256, 256]
    assert nearest.place[0] == 2


def test_the_mirror_image_counts_whichever_of_the_two_it_is_of() -> None:
    frame = table(split=["train", "val", "test"])
    one, other = frame.loc[0, Column.PERCEPTUAL_HASH.value], frame.loc[1, Column.PERCEPTUAL_HASH.value]
    frame[Column.MIRRORED_HASH.value] = [flipped(other, 5), "", ""]
    found = leakage_columns(frame)
    assert found.loc[[0, 1], Leak.LOOKALIKE_BITS.value].tolist() == [5, 5]
    assert found.loc[[0, 1], Leak.LOOKALIKE_ID.value].tolist() == ["im1", "im0"]
    assert found.loc[[0, 1], Leak.LOOKALIKE_MIRRORED.value].tolist() == [True, True]
    frame[Column.MIRRORED_HASH.value] = ["", flipped(one, 6), ""]
    assert leakage_columns(frame).loc[[0, 1], Leak.LOOKALIKE_BITS.value].tolist() == [6, 6]


def test_a_pair_that_a_person_found_to_differ_is_passed_over() -> None:
    frame = table(split=["train", "val", "test"])
    first = frame.loc[0, Column.PERCEPTUAL_HASH.value]
    frame.loc[1, Column.PERCEPTUAL_HASH.value] = flipped(first, 4)
    frame.loc[2, Column.PERCEPTUAL_HASH.value] = flipped(first, 9)
    assert leakage_columns(frame)[Leak.LOOKALIKE_BITS].tolist() == [4, 4, 5]
    found = leakage_columns(frame, judged_different={("im0", "im1"), ("im0", "not there")})
    assert found[Leak.LOOKALIKE_BITS].tolist() == [9, 5, 5]
    assert found[Leak.LOOKALIKE_ID].tolist() == ["im2", "im2", "im1"]


def test_without_a_hash_or_another_split_the_distance_is_undefined() -> None:
    nearest = nearest_across(["0" * 64, "", "1" * 64], ["train", "val", "train"])
    assert np.isnan(nearest.bits).all()
    assert (nearest.place == -1).all()
    assert np.isnan(nearest_across(["", ""], ["train", "val"]).bits).all()


@given(
    pairs=st.lists(
        st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)), min_size=1, max_size=12
    ),
    seed=st.integers(0, 1000),
)
def test_distances_equal_those_counted_bit_by_bit(pairs: list[tuple[bytes, bytes]], seed: int) -> None:
    splits = list(np.random.default_rng(seed).choice(["train", "val", "test"], len(pairs)))
    found = nearest_across([one.hex() for one, _ in pairs], splits, mirrored=[two.hex() for _, two in pairs])

    def distance(one: int, other: int) -> int:
        straight, turned = [int.from_bytes(part) for part in pairs[one]]
        hers, turned_hers = [int.from_bytes(part) for part in pairs[other]]
        return min((straight ^ hers).bit_count(), (turned ^ hers).bit_count(), (straight ^ turned_hers).bit_count())

    for place in range(len(pairs)):
        others = {other: distance(place, other) for other in range(len(pairs)) if splits[other] != splits[place]}
        if others:
            assert found.bits[place] == min(others.values()) == others[found.place[place]]
        else:
            assert np.isnan(found.bits[place])


def test_blocks_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    hashes, turned = [rng.bytes(32).hex() for _ in range(50)], [rng.bytes(32).hex() for _ in range(50)]
    splits = list(rng.choice(["train", "val"], 50))
    passed_over = [(1, 2), (30, 49), (0, 48)]
    whole = nearest_across(hashes, splits, mirrored=turned, passed_over=passed_over)
    monkeypatch.setattr("glaucoma.datasets.leakage._BLOCK_CELLS", 50 * 7)
    pieces = nearest_across(hashes, splits, mirrored=turned, passed_over=passed_over)
    assert (whole.bits == pieces.bits).all()
    assert (whole.place == pieces.place).all()
    assert (whole.mirrored == pieces.mirrored).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_tables_for_very_many_find_what_each_with_each_finds_up_to_the_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    eyes = rng.integers(0, 2, (150, 256), dtype=np.uint8)
    shown = eyes[rng.integers(0, 150, 900)] ^ (rng.random((900, 256)) < rng.choice([0, 0.02, 0.05, 0.3], (900, 1)))
    straight = [np.packbits(row).tobytes().hex() for row in shown]
    mirrored = [straight[other] if other % 3 else "" for other in rng.integers(0, 900, 900)]
    for blank in rng.integers(0, 900, 120):
        straight[blank], mirrored[blank] = "0" * 64, "0" * 64
    straight[7] = ""
    splits = list(rng.choice(["train", "val", "test"], 900, p=[0.7, 0.15, 0.15]))
    passed_over = [(int(one), int(other)) for one, other in rng.integers(0, 900, (40, 2)) if one != other]
    blanks = [place for place, text in enumerate(straight) if text == "0" * 64][:4]
    passed_over += [(blanks[1], blanks[0]), (blanks[2], blanks[3])]
    every = nearest_across(straight, splits, mirrored=mirrored, passed_over=passed_over)
    near = nearest_across(straight, splits, mirrored=mirrored, passed_over=passed_over, within_bits=28, many=100)
    within = every.bits <= 28
    assert 100 < within.sum() < 890
    assert np.array_equal(near.bits, np.where(within, every.bits, np.nan), equal_nan=True)
    assert np.array_equal(near.place, np.where(within, every.place, -1))
    assert np.array_equal(near.mirrored, every.mirrored & within)
