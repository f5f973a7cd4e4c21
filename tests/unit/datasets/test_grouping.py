from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glaucoma.datasets.grouping import Grouping, Publication, group
from glaucoma.datasets.identity import Fingerprint
from glaucoma.datasets.links import Link, Rung
from glaucoma.datasets.pair_judgements import Sameness

IDS = list("abcdefgh")


def bits(*flipped: int, of: int = 0) -> str:
    """A hash far from those of other numbers, with some of its bits flipped."""
    value = random.Random(of).getrandbits(256)
    for bit in flipped:
        value ^= 1 << bit
    return f"{value:064x}"


def prints(looks: list[str], **given: dict[int, str]) -> list[Fingerprint]:
    """Photographs of these perceptual hashes; `bytes`, `pixels` and `mirrored` differ but where they are given."""
    return [
        Fingerprint(
            48,
            48,
            given.get("bytes", {}).get(place, f"{place:064x}"),
            given.get("pixels", {}).get(place, f"{place + 1000:064x}"),
            look,
            given.get("mirrored", {}).get(place, bits(of=1000 + place)),
        )
        for place, look in enumerate(looks)
    ]


def far(count: int) -> list[str]:
    return [bits(of=place + 1) for place in range(count)]


def grouped(looks: list[str], patients: list[str] | None = None, **more: object) -> Grouping:
    hashes = {name: more.pop(name) for name in ("bytes", "pixels", "mirrored") if name in more}
    count = len(looks)
    return group(IDS[:count], patients or [""] * count, prints(looks, **hashes), **more)  # type: ignore[arg-type]


def test_each_rung_links_and_is_told() -> None:
    looks = far(8)
    looks[5] = bits(*range(9), of=5)
    found = grouped(
        [*looks],
        ["P", "P", "", "", "", "", "", ""],
        bytes={2: "a" * 64, 3: "a" * 64},
        pixels={2: "b" * 64, 3: "b" * 64, 6: "c" * 64, 7: "c" * 64},
    )
    assert found.groups == ("a", "a", "c", "c", "e", "e", "g", "g")
    assert found.links == (
        Link("a", "b", Rung.PATIENT),
        Link("c", "d", Rung.BYTES),
        Link("e", "f", Rung.LOOKS, 9),
        Link("g", "h", Rung.PIXELS),
    )
    assert {rung: count for rung, count in found.linked.items() if count} == {
        Rung.PATIENT: 1,
        Rung.BYTES: 1,
        Rung.PIXELS: 1,
        Rung.LOOKS: 1,
    }
    assert found.described(named_by_files=False) == "patient and content"
    assert str(found.links[2]) == "they look the same, 9 of 256 bits apart"


def test_the_mirror_image_links_too() -> None:
    looks = far(3)
    found = grouped(looks, mirrored={1: bits(3, 4, of=1)})
    assert found.groups == ("a", "a", "c")
    assert found.links == (Link("a", "b", Rung.LOOKS, 2, mirrored=True),)
    assert str(found.links[0]).endswith("2 of 256 bits apart, mirrored")


@pytest.mark.parametrize(("distance", "linked", "suspected"), [(16, 1, 0), (17, 0, 1), (28, 0, 1), (29, 0, 0)])
def test_sixteen_bits_link_and_twenty_eight_are_for_a_person(distance: int, linked: int, suspected: int) -> None:
    found = grouped([bits(), bits(*range(distance))])
    assert (found.linked[Rung.LOOKS], found.suspects_total, len(found.suspects)) == (linked, suspected, suspected)
    assert found.lookalikes_total == linked
    assert [one.distance for one in (*found.suspects, *found.lookalikes)] == [distance] * (linked + suspected)


def test_a_pair_that_is_in_one_group_already_is_no_suspect() -> None:
    looks = [bits(), bits(*range(20)), *far(1)]
    assert grouped(looks, ["P", "P", ""]).suspects == ()
    assert grouped(looks).suspects_total == 1


def test_copies_under_two_patients_are_linked_and_reported() -> None:
    looks = far(6)
    looks[5] = bits(7, of=5)
    found = grouped(
        looks, ["P1", "P1", "P2", "P3", "P4", "P5"], bytes={1: "a" * 64, 2: "a" * 64}, pixels={1: "b" * 64, 2: "b" * 64}
    )
    assert found.groups == ("a", "a", "a", "d", "e", "e")
    assert found.across_patients == (Link("b", "c", Rung.BYTES), Link("e", "f", Rung.LOOKS, 1))
    assert found.across_patients_total == 2


def test_of_very_many_look_alikes_of_different_patients_few_are_kept_and_all_are_counted() -> None:
    near = [bits(*pair) for pair in combinations(range(40), 2)][:600]
    ids = [f"i{place:03d}" for place in range(len(near))]
    found = group(ids, [f"P{place}" for place in range(len(near))], prints(near))
    assert set(found.groups) == {"i000"}
    assert len(found.links) == len(near) - 1
    assert found.across_patients_total == found.lookalikes_total == 600 * 599 // 2
    assert len(found.across_patients) == len(found.lookalikes) == 5000


def test_a_judged_pair_is_linked_or_left_apart_and_not_asked_about_again() -> None:
    looks = [bits(), bits(*range(20)), bits(of=9), bits(1, of=9)]
    ids = [f"{place + 1000:064x}" for place in range(4)]
    judged = {(ids[0], ids[1]): Sameness.SAME, (ids[2], ids[3]): Sameness.DIFFERENT}
    found = grouped(looks, judged=judged)
    assert found.groups == ("a", "a", "c", "d")
    assert (found.suspects, found.lookalikes, found.overruled) == ((), (), ())
    assert found.judged == (("a", "b", Sameness.SAME), ("c", "d", Sameness.DIFFERENT))
    before = grouped(looks)
    assert before.groups == ("a", "b", "c", "c")
    assert (before.suspects_total, before.lookalikes_total) == (1, 1)


def test_that_two_differ_is_overruled_by_what_links_them_through_others() -> None:
    looks = [bits(), bits(1), bits(2)]
    ids = [f"{place + 1000:064x}" for place in range(3)]
    found = grouped(looks, judged={(ids[0], ids[1]): Sameness.DIFFERENT})
    assert found.groups == ("a", "a", "a")
    assert found.overruled == (("a", "b"),)


def test_what_is_said_of_a_photograph_holds_for_its_copies() -> None:
    looks = [bits(), bits(), bits(*range(5))]
    pixels = {0: "a" * 64, 1: "a" * 64, 2: "b" * 64}
    found = grouped(looks, pixels=pixels, judged={("a" * 64, "b" * 64): Sameness.DIFFERENT})
    assert found.groups == ("a", "a", "c")
    assert [pair[:2] for pair in found.judged] == [("a", "c"), ("b", "c")]


def test_a_gathered_photograph_is_known_by_its_original_name() -> None:
    published = [
        Publication("PAPILA", "FundusImages/RET002OD.jpg", by_another=False),
        Publication("papila", "ret002od.png", by_another=True),
        Publication("fives", "1_A.png", by_another=False),
        Publication("fives", "1_A.png", by_another=False),
        Publication("", "RET002OD.jpg", by_another=True),
    ]
    found = grouped(far(5), published=published)
    assert found.groups == ("a", "a", "c", "d", "e")
    assert found.linked[Rung.ORIGINAL_NAME] == 1


def test_without_patients_and_duplicates_each_photograph_stands_for_itself() -> None:
    found = grouped(far(2))
    assert found.groups == ("a", "b")
    assert found.described(named_by_files=False).startswith("none")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "P1", "P2", "P3"]),
            st.integers(0, 3),
            st.integers(0, 4),
            st.integers(0, 5),
            st.integers(0, 40),
        ),
        min_size=1,
        max_size=14,
    ),
    st.randoms(use_true_random=False),
)
def test_groups_do_not_depend_on_order_and_their_links_hold_them_together(
    rows: list[tuple[str, int, int, int, int]], chance: random.Random
) -> None:
    ids = [f"i{place:02d}" for place in range(len(rows))]
    photographs = [
        Fingerprint(
            1,
            1,
            f"{b:064x}" if b else f"{place + 50:064x}",
            f"{p:064x}" if p else f"{place + 99:064x}",
            look,
            bits(of=77 + place),
        )
        for place, (_, b, p, family, flips) in enumerate(rows)
        for look in [bits(*range(flips), of=family)]
    ]
    patients = [row[0] for row in rows]
    forward = group(ids, patients, photographs)
    order = list(range(len(rows)))
    chance.shuffle(order)
    shuffled = group([ids[n] for n in order], [patients[n] for n in order], [photographs[n] for n in order])
    assert dict(zip(ids, forward.groups, strict=True)) == dict(
        zip([ids[n] for n in order], shuffled.groups, strict=True)
    )
    assert forward.suspects == shuffled.suspects
    assert len(forward.links) == len(ids) - len(set(forward.groups))
    of_id = dict(zip(ids, forward.groups, strict=True))
    assert all(of_id[link.first] == of_id[link.second] for link in forward.links)
    assert all(of_id[pair.first] != of_id[pair.second] for pair in forward.suspects)
