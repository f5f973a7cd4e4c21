"""Image ids: short, plain, unique names that follow from where a photograph lies in its archive."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from glaucoma.errors import DatasetError

_LONGEST = 80
_HASH_DIGITS = 8


def image_ids(paths: Sequence[PurePosixPath]) -> list[str]:
    """An id of `[a-z0-9_-]` for each path: the file's name where that is unique, else the whole path.

    Names without a plain letter or digit, very long ones, and whatever is not unique even so, get eight digits of the
    path's hash. The same paths give the same ids in any order.
    """
    by_name = [plain(path.stem) for path in paths]
    by_path = [plain("-".join([*path.parent.parts, path.stem])) for path in paths]
    names, whole = Counter(by_name), Counter(by_path)
    taken = set()
    ids = []
    for path, name, full in zip(paths, by_name, by_path, strict=True):
        chosen = name if names[name] == 1 else full
        if not chosen or len(chosen) > _LONGEST or (chosen == full and (whole[full] > 1 or full in names)):
            digits = hashlib.sha256(str(path).encode()).hexdigest()[:_HASH_DIGITS]
            chosen = f"{chosen[:_LONGEST] or 'image'}-{digits}"
        if chosen in taken:  # no accident, but anybody can name a file as another's id will be
            raise DatasetError(
                f"Two photographs would both be called {chosen}; one of them is {path}",
                expected="file names that do not repeat what distinguishes other files",
                consequence="The dataset was not made",
                remedy="rename or remove it",
            )
        taken.add(chosen)
        ids.append(chosen)
    return ids


def plain(text: str) -> str:
    """`text` in lower-case ASCII letters, digits, `_` and `-`; empty where nothing is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")
