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
    bits, nearest = nearest_across([same, same, "f" * 64], ["train", "train", "val"])
    assert list(bits) == [256, 256, 256]
    assert nearest[0] == 2


def test_without_a_hash_or_another_split_the_distance_is_undefined() -> None:
    bits, nearest = nearest_across(["0" * 64, "", "1" * 64], ["train", "val", "train"])
    assert np.isnan(bits).all()
    assert (nearest == -1).all()
    assert np.isnan(nearest_across(["", ""], ["train", "val"])[0]).all()


@given(
    hashes=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_distances_equal_those_counted_bit_by_bit(hashes: list[bytes], seed: int) -> None:
    splits = list(np.random.default_rng(seed).choice(["train", "val", "test"], len(hashes)))
    bits, nearest = nearest_across([one.hex() for one in hashes], splits)
    for place, one in enumerate(hashes):
        others = {
            other: (int.from_bytes(one) ^ int.from_bytes(hashes[other])).bit_count()
            for other in range(len(hashes))
            if splits[other] != splits[place]
        }
        if others:
            assert bits[place] == min(others.values()) == others[nearest[place]]
        else:
            assert np.isnan(bits[place])


def test_blocks_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    hashes, splits = [rng.bytes(32).hex() for _ in range(50)], list(rng.choice(["train", "val"], 50))
    whole = nearest_across(hashes, splits)
    monkeypatch.setattr("glaucoma.datasets.leakage._BLOCK_CELLS", 50 * 7)
    pieces = nearest_across(hashes, splits)
    assert (whole[0] == pieces[0]).all()
    assert (whole[1] == pieces[1]).all()
