from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.datasets import lookalikes
from glaucoma.datasets.lookalikes import MAX_DISTANCE, near_pairs

Pairs = dict[tuple[int, int], tuple[int, bool]]


def bits_between(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def flipped(text: str, bits: list[int]) -> str:
    value = int(text, 16)
    for bit in bits:
        value ^= 1 << bit
    return f"{value:064x}"


def found(hashes: list[str], mirrored: list[str], limit: int) -> Pairs:
    pairs: Pairs = {}
    for near in near_pairs(hashes, mirrored, limit):
        for first, second, distance, turned in zip(
            near.first.tolist(), near.second.tolist(), near.distance.tolist(), near.mirrored.tolist(), strict=True
        ):
            assert first < second
            assert (first, second) not in pairs, "a pair is given once"
            pairs[first, second] = (distance, turned)
    return pairs


def counted(hashes: list[str], mirrored: list[str], limit: int) -> Pairs:
    """Every pair, compared bit by bit."""
    pairs: Pairs = {}
    for first in range(len(hashes)):
        for second in range(first + 1, len(hashes)):
            if not hashes[first] or not hashes[second]:
                continue
            straight = bits_between(hashes[first], hashes[second])
            across = [bits_between(hashes[second], mirrored[first])] if mirrored[first] else []
            across += [bits_between(hashes[first], mirrored[second])] if mirrored[second] else []
            nearest = min([straight, *across])
            if nearest <= limit:
                pairs[first, second] = (nearest, nearest < straight)
    return pairs


def family(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Hashes of which many are near to each other, straight or mirrored; some have no mirror hash."""
    rng = np.random.default_rng(seed)
    hashes: list[str] = []
    mirrored: list[str] = []
    for place in range(count):
        if place and rng.random() < 0.6:
            like = int(rng.integers(place))
            base = hashes[like] if rng.random() < 0.5 else mirrored[like] or hashes[like]
            hashes.append(flipped(base, rng.choice(256, int(rng.integers(0, 40)), replace=False).tolist()))
        else:
            hashes.append(rng.bytes(32).hex())
        mirrored.append("" if rng.random() < 0.1 else rng.bytes(32).hex())
    return hashes, mirrored


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, MAX_DISTANCE), st.booleans())
def test_every_near_pair_is_found_once_with_its_distance(seed: int, limit: int, tables: bool) -> None:
    hashes, mirrored = family(seed, 60)
    few = lookalikes._FEW
    lookalikes._FEW = 0 if tables else few
    try:
        assert found(hashes, mirrored, limit) == counted(hashes, mirrored, limit)
    finally:
        lookalikes._FEW = few


def test_tables_find_what_comparing_each_with_each_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, mirrored = family(5, 900)
    monkeypatch.setattr(lookalikes, "_BLOCK_PAIRS", 5000)
    by_tables = found(hashes, mirrored, 28)
    monkeypatch.setattr(lookalikes, "_FEW", 1000)
    assert by_tables == found(hashes, mirrored, 28)
    assert len(by_tables) > 300
    assert any(turned for _, turned in by_tables.values())


def test_a_photograph_without_a_hash_is_near_to_none() -> None:
    assert found(["0" * 64, "", "0" * 64], ["f" * 64, "", "f" * 64], 28) == {(0, 2): (0, False)}
    assert found(["", ""], ["", ""], 28) == {}


def test_many_copies_are_paired_with_the_first_alone() -> None:
    hashes = ["0" * 64] * 60 + [flipped("0" * 64, [3])]
    pairs = found(hashes, ["5" * 64] * 61, 28)
    assert set(pairs) == {(0, place) for place in range(1, 61)}


def test_a_limit_beyond_which_pairs_would_be_missed_is_refused() -> None:
    with pytest.raises(ValueError, match="exact from 0 to 31"):
        next(near_pairs(["0" * 64], ["0" * 64], 32))
