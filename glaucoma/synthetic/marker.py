"""The mark of an archive whose photographs are generated, for whoever writes one and whoever must not mistake it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

MARKER_NAME: Final = "ARC-SYNTHETIC.txt"
"""The file at an archive's root that says its photographs are generated."""


def is_generated(path: Path) -> bool:
    """True for a zip with the mark at its root; False for every other file, a damaged one too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MARKER_NAME in archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return False
