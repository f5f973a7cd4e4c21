"""One case: an input made from a seed and a number, given to the reader, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import random
import shutil
import warnings
from pathlib import Path

import numpy as np

from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack
from glaucoma.datasets.imagefile import UnreadableImageError, read_mask_file, read_photograph
from glaucoma.datasets.masks import read_grey
from glaucoma.errors import ArcError
from glaucoma.workspace import Workspace
from tests.fuzz.archive_inputs import archive_input
from tests.fuzz.image_inputs import image_input

KINDS = ("archives", "images")
_SETTINGS = UnpackSettings(
    max_total_bytes=2_000_000, max_file_bytes=1_000_000, max_files=100, ratio_floor_bytes=200_000, max_seconds=20
)


class BrokenError(AssertionError):
    """What must hold after every case does not."""


def run_case(kind: str, seed: int, number: int, root: Path) -> bool:
    """Runs case `number` in the empty folder `root`; True where the input was taken, False where it was refused.

    Raises:
        BrokenError: Something was left outside or half done.
        Exception: Whatever else than the project's own errors the reader raised.
    """
    rng = random.Random(f"{seed}:{kind}:{number}")
    return _archive(rng, root) if kind == "archives" else _image(rng, root)


def _archive(rng: random.Random, root: Path) -> bool:
    outside = root / "outside"
    outside.mkdir()
    path = root / "input"
    path.write_bytes(archive_input(rng, outside))
    workspace = Workspace(root / "workspace")
    try:
        output = unpack(path, workspace, _SETTINGS)
    except ArcError:
        left = list(workspace.archives.rglob("*")) if workspace.archives.exists() else []
        _require(not left, f"left behind: {left}")
        taken = False
    else:
        _check_output(output.folder, output.record.details["files"])
        _require(list(workspace.archives.iterdir()) == [output.folder], "more than one output")
        taken = True
    _require(not any(outside.iterdir()), "something was written outside")
    names = {found.name for found in root.iterdir()}
    _require(names <= {"input", "outside", "workspace"}, f"left beside the workspace: {names}")
    inside = {found.name for found in workspace.root.iterdir()} if workspace.root.exists() else set()
    _require(inside <= {"archives", ".locks"}, f"left in the workspace: {inside}")
    return taken


def _check_output(folder: Path, files: list[dict[str, object]]) -> None:
    _require({found.name for found in folder.iterdir()} == {"archive.json", "files"}, "another file beside the record")
    found = {one.relative_to(folder / "files").as_posix() for one in (folder / "files").rglob("*") if not one.is_dir()}
    _require(found == {entry["path"] for entry in files}, "the record lists other files than there are")
    for entry in files:
        path = folder / "files" / str(entry["path"])
        _require(path.is_file() and not path.is_symlink(), f"{path} is no regular file")
        content = path.read_bytes()
        _require(len(content) == entry["bytes"], f"{path} is half written")
        _require(hashlib.sha256(content).hexdigest() == entry["sha256"], f"{path} has another hash than its record")


def _image(rng: random.Random, root: Path) -> bool:
    name, content = image_input(rng)
    path = root / name
    path.write_bytes(content)
    taken = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on what it repairs
        for reader in (read_photograph, read_mask_file):
            try:
                pixels = reader(path).pixels
            except (UnreadableImageError, ArcError):
                continue
            shape = 3 if reader is read_photograph else 2
            right = pixels.dtype == np.uint8 and pixels.ndim == shape and pixels.size > 0
            _require(right, f"{pixels.shape} {pixels.dtype}")
            taken = True
        try:
            grey = read_grey(path)
        except (UnreadableImageError, ArcError):
            pass
        else:
            _require(grey.dtype == np.uint8 and grey.ndim == 2, f"{grey.shape} {grey.dtype}")
            taken = True
    _require(path.read_bytes() == content and len(list(root.iterdir())) == 1, "a reader wrote something")
    return taken


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenError(otherwise)


def empty(root: Path) -> Path:
    """`root`, with nothing in it."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir(parents=True)
    return root
