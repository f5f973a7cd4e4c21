"""What is done with an outside program's output, with programs made for the purpose in place of 7-Zip."""

from __future__ import annotations

import re
import shlex
import zlib
from pathlib import Path

import pytest

from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack
from glaucoma.errors import ArchiveError
from glaucoma.workspace import Workspace

CONTENT = b"one" * 100 + b"two" * 50
MAGIC = b"7z\xbc\xaf\x27\x1c" + bytes(200)


def entry(path: str, content: bytes = b"", attributes: str = "A -rw-r--r--", **facts: object) -> str:
    stated = {
        "Path": path,
        "Size": len(content),
        "Attributes": attributes,
        "CRC": f"{zlib.crc32(content):08X}",
        "Encrypted": "-",
    }
    return "".join(f"{key.replace('_', ' ')} = {value}\n" for key, value in (stated | facts).items()) + "\n"


SOUND = entry("set", attributes="D drwxr-xr-x", CRC="") + entry("set/a.jpg", CONTENT[:300]) + entry("b", CONTENT[300:])


class SevenZip:
    """Stands on the PATH as `7zz`."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path / "bin"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}:/usr/bin:/bin")
        self.archive = tmp_path / "archive"
        self.archive.write_bytes(MAGIC)
        self.workspace = Workspace(tmp_path / "workspace")

    def unpack(
        self, listing: str = SOUND, output: bytes = CONTENT, lists: str = "", gives: str = "", **settings: float
    ) -> list[str]:
        """Unpacks with a program that shows `listing` and gives `output`, and runs the commands `lists` and `gives`."""
        (self.folder / "listing").write_text(listing, encoding="utf-8")
        (self.folder / "output").write_bytes(output)
        here = shlex.quote(str(self.folder))
        script = f"#!/bin/sh\ncase $1 in\nl) cat {here}/listing\n{lists}\n;;\nx) cat {here}/output\n{gives}\n;;\nesac\n"
        (self.folder / "7zz").write_text(script, encoding="utf-8")
        (self.folder / "7zz").chmod(0o755)
        result = unpack(self.archive, self.workspace, UnpackSettings(**settings))
        return [str(one["path"]) for one in result.record.details["files"]]


@pytest.fixture
def seven_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SevenZip:
    return SevenZip(tmp_path, monkeypatch)


def test_the_output_is_cut_at_the_listed_sizes(seven_zip: SevenZip) -> None:
    assert seven_zip.unpack() == ["b", "set/a.jpg"]


HOSTILE = {
    "traversal": (entry("../evil"), "climbs out"),
    "absolute": (entry("/evil"), "absolute"),
    "drive": (entry("C:/evil"), "drive"),
    "symbolic link": (entry("evil", attributes="A lrwxrwxrwx"), "symbolic link"),
    "symbolic link by fact": (entry("evil", Symbolic_Link="x"), "is a link"),
    "hard link": (entry("evil", Hard_Link="x"), "is a link"),
    "reparse point": (entry("evil", attributes="AL"), "is a link"),
    "device": (entry("evil", attributes="A brw-rw----"), "device"),
    "removal": (entry("evil", Anti="+"), "to be removed"),
    "encrypted": (entry("evil", Encrypted="+"), "is encrypted"),
    "duplicate": (entry("evil") + entry("evil"), "twice"),
    "letter case": (entry("evil") + entry("Evil"), "letter case"),
    "file is a folder": (entry("evil") + entry("evil/x"), "file and a folder"),
    "folder with bytes": (entry("evil", attributes="D", Size=5), "folder that holds"),
    "size not stated": (entry("evil", Size=""), "size is not stated"),
    "bomb": (entry("evil", Size=10**9), "max_ratio"),
    "too large a file": (entry("evil", Size=10**10), "max_ratio|max_file_bytes"),
    "too many": ("".join(entry(str(number)) for number in range(20)), "max_files"),
    "name without end": (f"Path = {'x' * 70_000}\n", "name of more than 64 KiB"),
    "larger than listed": (entry("set/a.jpg", CONTENT[:300]), "unpacks more from it than its list says"),
    "smaller than listed": (SOUND + entry("evil", b"x"), "ends 1 bytes before the end of a file"),
    "other bytes than listed": (entry("evil", CONTENT[:300], CRC="00000001") + entry("b", CONTENT[300:]), "checksum"),
    "nothing": ("", "unpacks more from it"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_list_is_refused_by_name_and_reason_and_leaves_nothing(kind: str, seven_zip: SevenZip) -> None:
    listing, said = HOSTILE[kind]
    with pytest.raises(ArchiveError, match=said) as caught:
        seven_zip.unpack(listing, max_files=10)
    if "evil" in listing and kind != "letter case":
        assert re.search("'[^']*evil[^']*'", str(caught.value))
    assert list(seven_zip.workspace.archives.iterdir()) == []


def test_a_program_that_hangs_is_ended_and_the_setting_named(seven_zip: SevenZip) -> None:
    with pytest.raises(ArchiveError, match="max_seconds"):
        seven_zip.unpack(lists="sleep 600", max_seconds=0.3)
    with pytest.raises(ArchiveError, match="max_seconds"):
        seven_zip.unpack(gives="sleep 600", max_seconds=1.5)
    assert list(seven_zip.workspace.archives.iterdir()) == []


def test_a_program_cannot_write_to_a_file(seven_zip: SevenZip, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    with pytest.raises(ArchiveError, match="7zz says"):
        seven_zip.unpack(gives=f"echo evil > {evil}")
    assert not evil.exists() or evil.read_bytes() == b""


def test_a_program_is_asked_nothing_and_gets_no_answer(seven_zip: SevenZip) -> None:
    with pytest.raises(ArchiveError, match="is encrypted"):
        seven_zip.unpack(lists='read answer || { echo "Enter password" >&2; exit 2; }')


def test_a_program_that_fails_after_all_it_gave_is_believed(seven_zip: SevenZip) -> None:
    with pytest.raises(ArchiveError, match="7zz says: CRC Failed"):
        seven_zip.unpack(gives="echo CRC Failed >&2; exit 2")
    assert list(seven_zip.workspace.archives.iterdir()) == []


def test_other_parts_of_the_archive_do_not_lie_beside_it(seven_zip: SevenZip) -> None:
    (seven_zip.archive.parent / "archive.002").write_bytes(b"another part")
    with pytest.raises(ArchiveError, match=r"7zz says: archive\.7z$|7zz says: archive\.7z\W"):
        seven_zip.unpack(lists="ls >&2; exit 2")
