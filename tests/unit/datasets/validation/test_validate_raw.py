from __future__ import annotations

import re
from datetime import UTC, datetime

import cv2
import numpy as np
import pandas as pd
import pytest

from glaucoma.datasets.findings import require_valid
from glaucoma.datasets.raw_facts import measure_files
from glaucoma.datasets.validate_raw import validate_raw
from glaucoma.datasets.validation_settings import ValidateSettings
from glaucoma.errors import ValidationFailedError
from glaucoma.provenance import StageOutput, StageRecord, file_sha256
from glaucoma.workspace import Workspace


def unpacked(workspace: Workspace, files: dict[str, bytes]) -> StageOutput:
    """What unpacking leaves of these files."""
    folder = workspace.archives / "0123456789abcdef"
    entries = []
    for name, content in sorted(files.items()):
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries.append({"path": name, "bytes": len(content), "sha256": file_sha256(path)})
    record = StageRecord(
        stage="unpack", key=folder.name, inputs={}, settings={}, code_sha256="0" * 64,
        started_at=datetime(2026, 1, 1, tzinfo=UTC), duration_s=0, versions={},
        details={"archive": "eyes.zip", "files": entries},
    )  # fmt: skip
    return StageOutput(folder, record, reused=False)


def picture(seed: int, ending: str = ".jpg", size: int = 96) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()


FILES = {
    "a/good.jpg": picture(1),
    "a/copy.jpg": picture(1),
    "a/png-called.jpg": picture(2, ".png"),
    "a/cut.jpg": picture(3)[:-400],
    "a/broken.png": picture(4, ".png")[:16] + bytes(300),
    "a/text.jpg": b"no image at all",
    "a/empty.jpg": b"",
    "a/small.png": picture(5, ".png", 20),
    "labels.csv": b"image,label\n",
    "run.exe": b"MZ" + bytes(100),
    "nameless": picture(6),
}


def facts_of(workspace: Workspace, *, decode: bool) -> pd.DataFrame:
    source = unpacked(workspace, FILES)
    found = measure_files(source.folder / "files", source.record.details["files"], decode=decode)
    return pd.DataFrame([vars(one) for one in found]).set_index("path")


def test_each_file_says_what_it_is_and_what_its_name_promises(workspace: Workspace) -> None:
    facts = facts_of(workspace, decode=True)
    assert facts.loc["a/good.jpg", ["kind", "promised", "width", "depth_bits"]].tolist() == ["jpeg", "jpeg", 96, 8]
    assert facts.loc["nameless", "is_image"]
    assert facts.loc["nameless", "ending_matches"] is False
    assert facts.loc["labels.csv", ["kind", "is_image", "image_readable"]].tolist() == ["other", False, None]
    assert set(facts.index[facts["copies"] > 1]) == {"a/good.jpg", "a/copy.jpg"}
    assert facts["sha256_matches"].all()
    unreadable = {"a/cut.jpg", "a/broken.png", "a/text.jpg", "a/empty.jpg"}
    assert set(facts.index[facts["image_readable"].eq(False)]) == unreadable
    assert set(facts.index[facts["problem"] != ""]) == unreadable


def test_without_decoding_only_what_headers_show_is_seen(workspace: Workspace) -> None:
    facts = facts_of(workspace, decode=False)
    assert facts["sha256_matches"].isna().all()
    assert set(facts.index[facts["image_readable"].eq(False)]) == {"a/broken.png", "a/text.jpg", "a/empty.jpg"}


def test_bad_files_warn_with_their_names_and_the_pages_open_offline(workspace: Workspace) -> None:
    output = validate_raw(unpacked(workspace, FILES), "eyes", workspace, ValidateSettings())
    details = output.record.details
    assert details["passed"]
    assert details["what"] == "raw"
    assert {one["rule"]: one["images"] for one in details["warnings"]} == {
        "not_empty_file": ["a/empty.jpg"],
        "ending_matches": ["a/png-called.jpg", "a/text.jpg", "nameless"],
        "image_readable": ["a/broken.png", "a/cut.jpg", "a/empty.jpg", "a/text.jpg"],
        "no_program": ["run.exe"],
        "large_enough": ["a/small.png"],
        "no_copies": ["a/copy.jpg", "a/good.jpg"],
    }
    assert output.record.counts == {"files": 11, "images": 9, "copies": 2, "critical": 0, "warnings": 6}
    assert len(pd.read_csv(output.folder / "checks.csv")) == 11
    pages = list((output.folder / "data_docs").rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        assert not re.search(r"""(src|data-src)\s*=\s*["']?(https?:)?//|<script""", page.read_text())
    require_valid(output)


def test_changed_bytes_and_an_archive_without_images_are_critical(workspace: Workspace) -> None:
    source = unpacked(workspace, {"labels.csv": b"image,label\n", "notes.txt": b"hello"})
    (source.folder / "files" / "notes.txt").write_bytes(b"HELLO")
    output = validate_raw(source, "eyes", workspace, ValidateSettings())
    assert [one["rule"] for one in output.record.details["critical"]] == ["has_images", "sha256_matches"]
    with pytest.raises(ValidationFailedError, match=r"notes.txt"):
        require_valid(output)
