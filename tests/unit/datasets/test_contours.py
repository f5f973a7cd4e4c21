from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glaucoma.datasets.contours import (
    CENTRE_AT_0,
    CENTRE_AT_1,
    CENTRE_AT_HALF,
    rasterise,
    read_json,
    read_labelme,
    read_points,
    read_sixteen_points,
    smooth_closed,
)
from glaucoma.errors import DatasetError

SQUARE = np.array([[2, 3], [7, 3], [7, 9], [2, 9]], float)


def ellipse(x: float, y: float, x_radius: float, y_radius: float, count: int = 400) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack([x + x_radius * np.cos(angle), y + y_radius * np.sin(angle)])


def area_of(points: np.ndarray) -> float:
    """The shoelace formula."""
    x, y = points.T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2)


@pytest.mark.parametrize("origin", [CENTRE_AT_0, CENTRE_AT_HALF, CENTRE_AT_1])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_rectangle_between_pixels_is_filled_exactly(origin: float, backwards: bool) -> None:
    points = SQUARE - 0.5 + origin
    mask = rasterise(points[::-1] if backwards else points, (12, 10), origin=origin)
    expected = np.zeros((12, 10), bool)
    expected[3:9, 2:7] = True
    np.testing.assert_array_equal(mask, expected)


@given(st.floats(40, 60), st.floats(40, 60), st.floats(4, 28), st.floats(0.7, 1.4), st.sampled_from([0.0, 0.5, 1.0]))
def test_area_and_height_of_an_ellipse_are_the_formulas_to_within_a_pixel_of_its_line(
    x: float, y: float, y_radius: float, aspect: float, origin: float
) -> None:
    x_radius = y_radius * aspect
    mask = rasterise(ellipse(x, y, x_radius, y_radius) + origin, (100, 100), origin=origin)
    edge = 2 * math.pi * max(x_radius, y_radius)
    assert abs(mask.sum() - math.pi * x_radius * y_radius) <= 0.5 * edge
    rows = np.flatnonzero(mask.any(axis=1))
    assert abs((rows[-1] - rows[0] + 1) - 2 * y_radius) <= 1 + 0.2
    rows_all, columns_all = np.mgrid[:100, :100]
    centres = ((columns_all - x) / x_radius) ** 2 + ((rows_all - y) / y_radius) ** 2
    assert not mask[centres > 1.0001].any()
    assert mask[centres < 0.98 - 1 / max(x_radius, y_radius) ** 2].all()


def test_what_lies_outside_the_picture_is_cut_off_and_an_outline_around_it_fills_it() -> None:
    assert rasterise(np.array([[-9, -9], [99, -9], [99, 99], [-9, 99]], float), (5, 7), origin=0).all()
    assert not rasterise(SQUARE + 50, (5, 7), origin=0).any()
    half = rasterise(ellipse(0, 50, 20, 20), (100, 100), origin=0)
    assert abs(half.sum() - math.pi * 200) < 50


def test_an_overlap_where_the_pen_came_back_leaves_no_hole() -> None:
    once = ellipse(20, 20, 10, 12)
    twice = np.vstack([once, once[:150]])
    np.testing.assert_array_equal(rasterise(twice, (40, 40), origin=0), rasterise(once, (40, 40), origin=0))


def test_the_curve_through_sixteen_points_encloses_what_the_circle_does() -> None:
    points = ellipse(0, 0, 100, 100, 16)
    assert area_of(points) / (math.pi * 100**2) < 0.975
    assert area_of(smooth_closed(points)) / (math.pi * 100**2) == pytest.approx(1, abs=2e-4)
    doubled = np.vstack([points, points[:1]])
    assert area_of(smooth_closed(doubled)) == pytest.approx(area_of(smooth_closed(points)))


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((2, 2)),
        np.zeros((4, 3)),
        np.array([[0, 0], [1, np.nan], [2, 2]]),
        np.array([[0, 0], [1e300, 0], [2, 2]]),
    ],
)
def test_points_that_cannot_be_are_refused(points: np.ndarray) -> None:
    with pytest.raises(DatasetError, match="contour"):
        rasterise(points, (5, 5), origin=0)


def test_points_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "RET002OD_cup_exp1.txt"
    path.write_text("  1.5000e+01   2.25\n16,3\n\n 17 4.5\n")
    np.testing.assert_array_equal(read_points(path), [[15, 2.25], [16, 3], [17, 4.5]])


@pytest.mark.parametrize("content", ["1 2\n3\n4 5\n", "1 2\n3 4 5\n6 7\n", "x y\n1 2\n2 3\n3 4\n", "", "1 2\n3 4\n"])
def test_a_text_file_that_is_no_contour_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(content)
    with pytest.raises(DatasetError, match=r"c\.txt"):
        read_points(tmp_path / "c.txt")


@pytest.mark.parametrize("two_a_line", [False, True])
@pytest.mark.parametrize("header", [["DCSeg 1.0 for 16 points"], ["Image 12", "16 points of Im300"]])
def test_sixteen_points_stand_one_or_two_numbers_a_line(header: list[str], two_a_line: bool, tmp_path: Path) -> None:
    points = np.rint(ellipse(50, 60, 20, 25, 16)).astype(int)
    pairs = [(50, 60), *map(tuple, points)]
    lines = [f"{x} {y}" for x, y in pairs] if two_a_line else [str(value) for pair in pairs for value in pair]
    path = tmp_path / "p.txt"
    path.write_text("\r\n".join([*header, *lines, "Ellipse parameters", "50.1 60.2 20 25 0"]))
    np.testing.assert_array_equal(read_sixteen_points(path, header_lines=len(header)), points)
    path.write_text("\n".join([*header, *lines[:-2]]))
    with pytest.raises(DatasetError, match="after its header"):
        read_sixteen_points(path, header_lines=len(header))


def labelme(path: Path, **changes: object) -> Path:
    shapes = [
        {"label": "Disc ", "points": SQUARE.tolist(), "shape_type": "polygon"},
        {"label": "cup", "points": [[3, 4], [5, 6]], "shape_type": "rectangle"},
        {"label": "ring", "points": [[5, 5], [5, 8]], "shape_type": "circle"},
        {"label": "fovea", "points": [[1, 1]], "shape_type": "point"},
    ]
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 12, "imageWidth": 10} | changes))
    return path


def test_a_labelme_file_gives_the_picture_s_size_and_outlines_by_label(tmp_path: Path) -> None:
    shape, outlines = read_labelme(labelme(tmp_path / "a.json"))
    assert shape == (12, 10)
    assert set(outlines) == {"disc", "cup", "ring"}
    disc = rasterise(outlines["disc"][0], shape, origin=CENTRE_AT_HALF)
    assert disc[3:9, 2:7].all()
    assert disc.sum() == 30
    assert rasterise(outlines["cup"][0], shape, origin=CENTRE_AT_HALF).sum() == 4
    assert area_of(outlines["ring"][0]) == pytest.approx(9 * math.pi, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapes": None}, "no list of shapes"),
        ({"shapes": [7]}, "no object"),
        ({"imageHeight": 10**9}, "size"),
        ({"imageWidth": True}, "size"),
        ({"imageHeight": 100_000, "imageWidth": 100_000}, "at most 134 megapixels"),
        ({"shapes": [{"label": "disc", "points": [[10**400, 1]] * 3}]}, "no numbers"),
        ({"shapes": [{"label": "disc", "points": [["x", 1]], "shape_type": "polygon"}]}, "no numbers"),
        ({"shapes": [{"label": "disc", "points": [[1, 1]], "shape_type": "polygon"}]}, "shape"),
        ({"shapes": [{"label": "disc", "points": [[1, 1]], "shape_type": "mask"}]}, "kind 'mask'"),
    ],
)
def test_a_labelme_file_that_cannot_be_is_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        read_labelme(labelme(tmp_path / "a.json", **changes))


def test_a_line_that_goes_up_and_down_without_end_is_refused() -> None:
    points = np.column_stack([np.arange(100_000) / 100, np.tile([0, 1000], 50_000)])
    with pytest.raises(DatasetError, match="crosses rows of pixels"):
        rasterise(points, (1000, 1000), origin=CENTRE_AT_0)


@pytest.mark.parametrize("content", [b"{", b"[" * 200_000, b"\xff\xfe\x00", b""])
def test_hostile_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DatasetError, match="no readable JSON"):
        read_json(tmp_path / "a.json")


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.txt cannot be read"):
        read_points(tmp_path / "gone.txt")
