"""Contours: lists of points in text and JSON files, and the masks that they enclose."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.image_guard import MOST_PIXELS
from glaucoma.errors import DatasetError

Points = NDArray[np.float64]
"""(n, 2) x and y in pixels."""

CENTRE_AT_0 = 0.0
"""Coordinates that call the centre of the first pixel 0: indices as Python and C count."""
CENTRE_AT_HALF = 0.5
"""Coordinates that begin at the picture's edge, so that the first pixel's centre is at 0.5: labelme."""
CENTRE_AT_1 = 1.0
"""Coordinates that call the centre of the first pixel 1: MATLAB, and RIM-ONE's text files."""

_LARGEST_COORDINATE_PX = 1e6
_LARGEST_BYTES = 32 << 20
_MOST_POINTS = 200_000
_MOST_CROSSINGS = 20_000_000
"""Of a contour's edges with rows of pixels: one around a picture of 10,000 rows has 20,000."""
_FEWEST_POINTS = 3
_STEPS_BETWEEN = 16
_LETTERS = re.compile(r"[A-Za-z]{2,}")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CIRCLE_POINTS = 720


def rasterise(points_xy: Points, shape: tuple[int, int], *, origin: float) -> Marked:
    """The pixels whose centres a closed contour encloses.

    Area and height agree with the contour's own to within the pixels that its line crosses, and exactly for a rectangle
    whose sides run between pixels. A contour that goes around more than once encloses what it goes around (non-zero
    winding), so that an overlap where the pen came back to its beginning leaves no hole. Parts outside are cut off.

    Args:
        points_xy: (n, 2) x and y, n >= 3; the last point is joined to the first.
        shape: Height and width of the mask.
        origin: The coordinate that the centre of the first pixel has: `CENTRE_AT_0`, `CENTRE_AT_HALF` or `CENTRE_AT_1`.

    Raises:
        DatasetError: Fewer than three points, coordinates that are no numbers or beyond a million pixels, or a line
            that goes up and down without end.
    """
    points = _checked(points_xy) - origin
    height, width = shape
    x0, y0 = points.T
    x1, y1 = np.roll(points, -1, axis=0).T
    # Row r is crossed by an edge where its ends lie on both sides of y = r; the half-open rule counts a corner once.
    first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(np.int64)
    counts = last - first
    if counts.sum() > _MOST_CROSSINGS:
        raise DatasetError(
            f"A contour crosses rows of pixels {counts.sum()} times", expected=f"at most {_MOST_CROSSINGS} times"
        )
    edge = np.repeat(np.arange(len(points)), counts)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = first[edge] + within
    x = x0[edge] + (row - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x), 0, width).astype(np.int64)
    filled = np.zeros((height, width), np.bool_)
    if not len(row):
        return filled
    top, left, right = int(row.min()), int(column.min()), int(column.max())
    winding = np.zeros((int(row.max()) + 1 - top, right + 1 - left), np.int32)
    np.add.at(winding, (row - top, column - left), np.where(y1 > y0, 1, -1)[edge].astype(np.int32))
    filled[top : top + len(winding), left:right] = np.cumsum(winding, axis=1)[:, :-1] != 0
    return filled


def smooth_closed(points_xy: Points) -> Points:
    """The closed curve through a few points: a periodic cubic spline, 16 steps from each point to the next.

    The straight lines between 16 points on a circle enclose 2.6 % less than the circle; the curve 0.02 %.

    Args:
        points_xy: (n, 2), n >= 3, none twice in a row.
    """
    from scipy.interpolate import CubicSpline

    points = _checked(points_xy)
    kept = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    if len(kept) < _FEWEST_POINTS:
        raise DatasetError(f"A contour has {len(kept)} different points", expected="at least 3")
    closed = np.vstack([kept, kept[:1]])
    along = np.arange(len(closed), dtype=np.float64)
    curve = CubicSpline(along, closed, bc_type="periodic")
    steps = np.linspace(0, len(kept), len(kept) * _STEPS_BETWEEN, endpoint=False)
    return np.asarray(curve(steps), np.float64)


def read_points(path: Path) -> Points:
    """The points of a text file with an x and a y in each line, as PAPILA's contours.

    Raises:
        DatasetError: No readable file, or a line that is not two numbers.
    """
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if len(lines) > _MOST_POINTS:
        raise DatasetError(f"{path.name} has {len(lines)} lines", expected=f"at most {_MOST_POINTS} points")
    numbers = [_NUMBER.findall(line) for line in lines]
    odd = next((place for place, found in enumerate(numbers) if len(found) != 2 or _LETTERS.search(lines[place])), None)
    if odd is not None:
        raise DatasetError(f"{path.name} has the line {lines[odd][:60]!r}", expected="an x and a y in each line")
    return _checked(np.asarray(numbers, dtype=np.float64).reshape(-1, 2), path.name)


def read_sixteen_points(path: Path, *, header_lines: int) -> Points:
    """The sixteen points of RIM-ONE's text files: after the header a centre, then x and y sixteen times.

    Numbers may stand one or two a line. Whatever follows the points from the first word on (RIM-ONE r2 adds the
    parameters of an ellipse) is not read.

    Args:
        header_lines: Lines before the centre: 2 in RIM-ONE r2, 1 in r3 and DL.

    Returns:
        (16, 2), counted from 1: `rasterise` with `CENTRE_AT_1`.

    Raises:
        DatasetError: No readable file, or not a centre and sixteen points.
    """
    numbers: list[float] = []
    for line in _text(path).splitlines()[header_lines:]:
        if _LETTERS.search(line):
            break
        numbers += [float(number) for number in _NUMBER.findall(line)]
    expected = 2 + 2 * 16
    if len(numbers) < expected:
        raise DatasetError(
            f"{path.name} has {len(numbers)} numbers after its header", expected="a centre and 16 points, 34 numbers"
        )
    return _checked(np.asarray(numbers[2:expected], np.float64).reshape(16, 2), path.name)


def read_labelme(path: Path) -> tuple[tuple[int, int], dict[str, list[Points]]]:
    """The shapes of a labelme file.

    Returns:
        Height and width of the picture that was marked, and for each label (in small letters) its outlines, in
        coordinates that begin at the picture's edge: `rasterise` with `CENTRE_AT_HALF`. Polygons, rectangles and
        circles become outlines; points and lines enclose nothing and are left out.

    Raises:
        DatasetError: No labelme file, or numbers that cannot be.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DatasetError(f"{path.name} is no labelme file: it has no list of shapes", expected="shapes, imageHeight")
    shape = (_pixels(path, content.get("imageHeight")), _pixels(path, content.get("imageWidth")))
    if shape[0] * shape[1] > MOST_PIXELS:
        raise DatasetError(
            f"{path.name} gives the picture's size as {shape[1]} x {shape[0]}",
            expected=f"at most {MOST_PIXELS // 10**6} megapixels",
        )
    outlines: dict[str, list[Points]] = {}
    for entry in content["shapes"]:
        if not isinstance(entry, dict):
            raise DatasetError(f"{path.name} has a shape that is no object", expected="label, points, shape_type")
        outline = _outline(path, entry)
        if outline is not None:
            outlines.setdefault(str(entry.get("label", "")).strip().casefold(), []).append(outline)
    return shape, outlines


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DatasetError: No readable JSON, or more than 32 MB of it.
    """
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path.name} is no readable JSON ({str(error)[:120]})", expected="a JSON file") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DatasetError(f"{path.name} has {path.stat().st_size} bytes", expected=f"at most {_LARGEST_BYTES}")
        return path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read ({error.strerror or error})") from error


def _checked(points: Points, name: str = "A contour") -> Points:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not _FEWEST_POINTS <= len(points) <= _MOST_POINTS:
        raise DatasetError(f"{name} has points of shape {points.shape}", expected="(n, 2) with n from 3 to 200000")
    if not np.isfinite(points).all() or np.abs(points).max() > _LARGEST_COORDINATE_PX:
        raise DatasetError(f"{name} has coordinates that cannot be", expected="numbers within a million pixels")
    return points


def _pixels(path: Path, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise DatasetError(
            f"{path.name} gives the picture's size as {str(value)[:40]!r}", expected="1 to 100000 pixels"
        )
    return value


def _outline(path: Path, entry: dict[str, Any]) -> Points | None:
    kind = str(entry.get("shape_type") or "polygon")
    try:
        points = np.asarray(entry.get("points"), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path.name} has points that are no numbers", expected="pairs x, y") from error
    two = points.shape == (2, 2)
    if kind == "rectangle" and two:
        (x0, y0), (x1, y1) = points
        return _checked(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), path.name)
    if kind == "circle" and two:
        radius = math.dist(points[0], points[1])
        angle = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
        return _checked(points[0] + radius * np.column_stack([np.cos(angle), np.sin(angle)]), path.name)
    if kind == "polygon":
        return _checked(points, path.name)
    if kind in ("point", "points", "line", "linestrip"):
        return None
    raise DatasetError(f"{path.name} has a shape of the kind {kind[:40]!r}", expected="polygon, rectangle or circle")
