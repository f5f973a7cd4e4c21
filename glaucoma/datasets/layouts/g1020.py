"""G1020 (Bajwa et al. 2020): discs and cups outlined in labelme files, and cups that nobody could see."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from glaucoma.datasets.contours import CENTRE_AT_HALF, Points, rasterise, read_labelme
from glaucoma.datasets.fusion import Marked
from glaucoma.datasets.layouts.base import Published, SourceImage, SourceMask
from glaucoma.datasets.layouts.lookup import below_folder, by_image, by_stem, in_folder, rows_with
from glaucoma.datasets.layouts.words import label_of
from glaucoma.datasets.masks import CanonicalMask, canonical, from_parts, read_grey
from glaucoma.datasets.tree import Tree, stem_key
from glaucoma.errors import DatasetError
from glaucoma.schema import Label

PUBLISHED = Published(1020, {Label.NORMAL: 724, Label.GLAUCOMA: 296})

_COLUMNS = ("imageid", "binarylabels")
_VERSIONS = ("images_cropped", "images_square", "nerveremoved_images", "masks", "masks_cropped", "masks_square")


class G1020:
    """`Images/image_0.jpg` with `image_0.json` beside, and `G1020.csv` (imageID, binaryLabels).

    Where the outlines hold a disc and no cup, the readers could not see one: `not_visible`. Where they hold no disc
    there is no mask. Cropped, square and nerve-removed versions are left out. No patients, eyes or splits.
    """

    name = "g1020"
    generic = False
    looks_like = "Images/image_0.jpg with image_0.json, and a table with the columns imageID and binaryLabels"
    published = PUBLISHED

    def recognise(self, tree: Tree) -> str | None:
        """A table has the columns imageID and binaryLabels, and names photographs that are there."""
        rows = by_image(rows_with(tree, *_COLUMNS), "imageid")
        photographs = _photographs(tree) if rows else []
        named = sum(stem_key(path) in rows for path in photographs)
        outlines = by_stem(path for path in tree.files if path.suffix.lower() == ".json")
        with_outlines = sum(path.stem.casefold() in outlines for path in photographs)
        if not named:
            return None
        return f"a table with imageID and binaryLabels names {named} photographs, {with_outlines} have a JSON file"

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs, and the table's rows without one, which are set aside by name."""
        rows = by_image(rows_with(tree, *_COLUMNS), "imageid")
        photographs = _photographs(tree)
        pictures = by_stem(path for path in tree.images if in_folder(path, "masks"))
        jsons = by_stem(
            path for path in tree.files if path.suffix.lower() == ".json" and not below_folder(path, *_VERSIONS)
        )
        images = []
        for path in photographs:
            stated, key = rows.get(stem_key(path), {}).get("binarylabels", ""), path.stem.casefold()
            images.append(
                SourceImage(
                    path,
                    label=label_of(stated) or Label.UNKNOWN,
                    source_label=stated,
                    site="G1020",
                    mask=_mask(tree, jsons.get(key), pictures.get(key)),
                )
            )
        there = {stem_key(path) for path in photographs}
        missing = [PurePosixPath(row["imageid"]) for key, row in rows.items() if key not in there]
        return images + [SourceImage(path) for path in missing]

    def left_out(self, tree: Tree) -> dict[PurePosixPath, str]:
        """The cropped, square and nerve-removed versions."""
        return {
            path: "another version of a photograph or mask" for path in tree.images if below_folder(path, *_VERSIONS)
        }


def _photographs(tree: Tree) -> list[PurePosixPath]:
    inside = [path for path in tree.images if in_folder(path, "images")]
    return inside or [path for path in tree.images if not below_folder(path, *_VERSIONS)]


def _mask(tree: Tree, outlines: PurePosixPath | None, picture: PurePosixPath | None) -> SourceMask | None:
    """From the outlines where there are some, else from the picture."""
    path = outlines or picture
    if path is None:
        return None

    def read() -> CanonicalMask:
        if path is picture:
            return canonical(read_grey(tree.full(path)), path.name)
        return _from_outlines(tree, path)

    return SourceMask((path,), read)


def _from_outlines(tree: Tree, path: PurePosixPath) -> CanonicalMask:
    shape, outlines = read_labelme(tree.full(path))
    if not outlines.get("disc"):
        raise DatasetError(
            f"{path.name} outlines no disc", expected="an outline called disc, and one called cup if it was seen"
        )
    cup = outlines.get("cup")
    return from_parts(_filled(outlines["disc"], shape), _filled(cup, shape) if cup else None)


def _filled(outlines: list[Points], shape: tuple[int, int]) -> Marked:
    filled = [rasterise(outline, shape, origin=CENTRE_AT_HALF) for outline in outlines]
    return np.asarray(np.logical_or.reduce(filled), np.bool_)
