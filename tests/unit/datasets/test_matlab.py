from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from glaucoma.datasets import matlab
from glaucoma.datasets.matlab import read_mask, read_matlab
from glaucoma.errors import DatasetError
from glaucoma.schema import StructureState

MASK = np.zeros((7, 11), np.uint8)
MASK[2:6, 3:9] = 1
MASK[3:5, 4:7] = 2


def version_5(path: Path, variables: dict[str, Any], **options: Any) -> Path:
    scipy.io.savemat(path, variables, **options)
    return path


def version_7_3(path: Path, variables: dict[str, Any]) -> Path:
    """As MATLAB writes it: a block of 512 bytes before HDF5 begins, and the first dimension last."""
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(group: Any, content: dict[str, Any]) -> None:
            for name, value in content.items():
                if isinstance(value, dict):
                    put(group.create_group(name), value)
                else:
                    group.create_dataset(name, data=np.asarray(value).T, compression="gzip")

        put(file, variables)
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int32])
@pytest.mark.parametrize("packed", [False, True])
def test_an_array_comes_out_of_either_version_as_it_went_in(dtype: type, packed: bool, tmp_path: Path) -> None:
    expected = MASK.astype(dtype)
    for path in (
        version_5(tmp_path / "5.mat", {"mask": expected, "note": "text"}, do_compression=packed),
        version_7_3(tmp_path / "7.mat", {"mask": expected}),
    ):
        found = read_matlab(path)
        assert set(found) == {"mask"}
        np.testing.assert_array_equal(found["mask"], expected)
        np.testing.assert_array_equal(read_mask(path).values, MASK)


def test_the_transposition_of_version_7_3_is_undone() -> None:
    """The bytes of HDF5 are those of MATLAB's column-major memory: its dimensions stand the other way round."""
    assert np.asfortranarray(MASK).tobytes(order="A") == np.ascontiguousarray(MASK.T).tobytes()


def test_a_logical_array_is_a_disc(tmp_path: Path) -> None:
    path = version_5(tmp_path / "l.mat", {"mask": MASK > 0})
    np.testing.assert_array_equal(read_mask(path).values, MASK > 0)


@pytest.mark.parametrize("write", [version_5, version_7_3])
@pytest.mark.parametrize(
    "variables",
    [
        {
            "truth": {
                "disc": (MASK > 0).astype(np.uint8),
                "cup": (MASK == 2).astype(np.uint8),
                "size": np.array([[1.0, 2]]),
            }
        },
        {"maskDisc": (MASK > 0).astype(np.uint8), "maskCup": (MASK == 2) * 255.0},
        {"OD_mask": (MASK > 0).astype(np.uint8), "OC_mask": (MASK == 2).astype(np.uint8)},
    ],
)
def test_disc_and_cup_are_found_in_a_structure_or_side_by_side(write: Any, variables: Any, tmp_path: Path) -> None:
    if "maskDisc" in variables:
        variables = {"disc": variables["maskDisc"], "cup": variables["maskCup"]}
    mask = read_mask(write(tmp_path / "s.mat", variables))
    np.testing.assert_array_equal(mask.values, MASK)
    assert mask.cup_state is StructureState.PRESENT


def test_the_only_array_is_the_mask_and_several_are_named(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(version_5(tmp_path / "1.mat", {"L": MASK})).values, MASK)
    with pytest.raises(DatasetError, match="holds a, b"):
        read_mask(version_5(tmp_path / "2.mat", {"a": MASK, "b": MASK}))
    with pytest.raises(DatasetError, match="no two-dimensional array"):
        read_mask(version_5(tmp_path / "3.mat", {"a": np.zeros((2, 2, 2))}))


@pytest.mark.parametrize("values", [np.full((4, 4), 0.5), np.full((4, 4), -1), np.full((4, 4), 70000)])
def test_values_that_are_no_mask_are_refused(values: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="The mask in"):
        read_mask(version_5(tmp_path / "m.mat", {"mask": values}))


def header() -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body


def nested(depth: int) -> bytes:
    flags, dims, name = element(6, struct.pack("<II", 1, 0)), element(5, struct.pack("<ii", 1, 1)), element(1, b"")
    body = element(14, flags + dims + name)
    for _ in range(depth):
        body = element(14, flags + dims + name + body)
    return body


def plain(variables: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    return buffer.getvalue()


HOSTILE = {
    "nothing": b"",
    "text": b"not a MATLAB file at all" * 10,
    "header alone, then noise": header() + b"\x99" * 40,
    "claims more than is there": header() + struct.pack("<II", 14, 0x7FFFFFF0) + b"\0" * 64,
    "nested a thousand deep": header() + nested(1000),
    "compressed inside compressed": header() + element(15, zlib.compress(element(15, zlib.compress(nested(0))))),
    "damaged compression": header() + element(15, b"\x78\x9c" + b"\xff" * 50),
    "compression cut short": header() + element(15, zlib.compress(nested(0) * 50)[:-8]),
    "a small element of nine bytes": header() + element(14, struct.pack("<HH", 6, 9) + b"\0" * 28),
    "cut in the middle": plain({"mask": MASK})[:-40],
    "dimensions that lie": plain({"mask": MASK}).replace(struct.pack("<ii", 7, 11), struct.pack("<ii", 70000, 11000)),
    "nothing in it, and too large all the same": header()
    + element(
        14,
        element(6, struct.pack("<II", 9, 0))
        + element(5, struct.pack("<4i", 0, *[2**31 - 1] * 3))
        + element(1, b"mask" + bytes(4))
        + element(2, b""),
    ),
    "version 4's form": struct.pack("<5i", 0, 7, 11, 0, 5) + b"mask\0" + bytes(7 * 11 * 8),
    "hdf5 that is none": b"\x89HDF\r\n\x1a\n" + b"\0" * 600,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=r"m\.mat"):
        read_mask(tmp_path / "m.mat")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "_MOST_BYTES", 100_000)
    for path in (
        version_5(tmp_path / "5.mat", {"mask": np.zeros((1000, 1000), np.uint8)}, do_compression=True),
        version_7_3(tmp_path / "7.mat", {"mask": np.zeros((1000, 1000), np.uint8)}),
    ):
        assert path.stat().st_size < 20_000
        with pytest.raises(DatasetError, match="unpacks to more than"):
            read_matlab(path)


@pytest.mark.parametrize("kind", ["soft", "external link", "external data", "virtual"])
def test_data_that_lie_in_another_place_are_not_followed(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(77))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["mask"] = MASK
    path = tmp_path / "m.mat"
    with h5py.File(path, "w") as file:
        if kind == "soft":
            file["mask"] = h5py.SoftLink("/elsewhere")
        elif kind == "external link":
            file["mask"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/mask")
        elif kind == "external data":
            file.create_dataset("mask", (7, 11), "u1", external=[(str(secret), 0, 77)])
        else:
            layout = h5py.VirtualLayout((7, 11), "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "mask", (7, 11))
            file.create_virtual_dataset("mask", layout)
    with pytest.raises(DatasetError, match=r"somewhere else|another file"):
        read_matlab(path)


def test_a_structure_that_holds_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.mat"
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["a"] = group
    with pytest.raises(DatasetError, match="nest deeper"):
        read_matlab(path)


@pytest.mark.parametrize("packed", [False, True])
def test_every_class_of_array_is_what_scipy_reads(packed: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    types = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    written: dict[str, Any] = {f"a_{kind}": (rng.random((3, 5)) * 100).astype(kind) for kind in types}
    written |= {
        "cube": rng.random((2, 3, 4)),
        "flag": rng.random((4, 4)) > 0.5,
        "row": np.arange(3.0),
        "empty": np.zeros((0, 3)),
    }
    written |= {
        "deep": {"in": {"side": MASK}, "text": "no"},
        "note": "text",
        "cell": np.array([MASK, 1], object),
        "z": 1j * MASK,
    }
    path = version_5(tmp_path / "all.mat", written, do_compression=packed)
    found, theirs = read_matlab(path), scipy.io.loadmat(path)
    np.testing.assert_array_equal(found.pop("deep")["in"]["side"], MASK)
    assert set(found) == set(written) - {"deep", "note", "cell", "z"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, theirs[name])
        assert array.dtype == (bool if name == "flag" else theirs[name].dtype)


def test_a_file_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    def big(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    body = big(6, struct.pack(">II", 9, 0)) + big(5, struct.pack(">ii", 7, 11)) + big(1, b"mask")
    body += big(2, MASK.tobytes(order="F"))
    path = tmp_path / "m.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(body)) + body)
    np.testing.assert_array_equal(read_mask(path).values, MASK)


@pytest.mark.parametrize("write", [version_5, version_7_3])
def test_a_file_with_flipped_bytes_ends_in_a_mask_or_in_a_clear_error(write: Any, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mat", {"mask": MASK, "s": {"a": MASK}}).read_bytes()
    rng, path, refused = np.random.default_rng(0), tmp_path / "m.mat", 0
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 8)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        try:
            assert read_mask(path).values.ndim == 2
        except DatasetError:
            refused += 1
    assert 0 < refused < 150
