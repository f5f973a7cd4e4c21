from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from glaucoma.archives import programs
from glaucoma.archives.rar_names import name_of_version_4
from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack
from glaucoma.errors import ArchiveError
from glaucoma.workspace import Workspace
from tests.unit.archives.makers import (
    TAR_END,
    ZipMember,
    pax,
    pax_record,
    rar4_bytes,
    rar4_file,
    rar5_bytes,
    rar5_file,
    tar_bytes,
    tar_file,
    tar_header,
    zip_bytes,
)

FILES = {
    "set/a.jpg": b"first" * 1000,
    "set/deep/er/b.txt": b"",
    "c.bin": np.random.default_rng(0).bytes(1_300_000),
    "set/" + "long-folder/" * 12 + "photograph of an eye.jpg": b"long",
    "set/Œil gauche – 左.jpg": b"unicode",
}
SEVEN_ZIP = shutil.which("7zz") or shutil.which("7z") or shutil.which("7za")
BSDTAR = shutil.which("bsdtar")
needs_seven_zip = pytest.mark.skipif(SEVEN_ZIP is None, reason="7-Zip is not installed")
needs_bsdtar = pytest.mark.skipif(BSDTAR is None, reason="bsdtar is not installed")


def zipped(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def streamed(*, force_zip64: bool) -> bytes:
    class Pipe(io.RawIOBase):
        content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            Pipe.content += data
            return len(data)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=force_zip64) as handle:
                handle.write(content)
    return Pipe.content


def zstd_in_frames(content: bytes) -> bytes:
    half = len(content) // 2
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    return zstandard.compress(content[:half]) + skippable + zstandard.compress(content[half:])


def gzip_in_members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(content[half:]) + bytes(1000)


def two_xz_streams(content: bytes) -> bytes:
    return lzma.compress(content[:5000]) + bytes(8) + lzma.compress(content[5000:])


READ: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "zip stored": ("zip", "", lambda: zipped(zipfile.ZIP_STORED)),
    "zip deflate": ("zip", "", lambda: zipped(zipfile.ZIP_DEFLATED)),
    "zip bzip2": ("zip", "", lambda: zipped(zipfile.ZIP_BZIP2)),
    "zip LZMA": ("zip", "", lambda: zipped(zipfile.ZIP_LZMA)),
    "zip streamed": ("zip", "", lambda: streamed(force_zip64=False)),
    "zip streamed, 64-bit": ("zip", "", lambda: streamed(force_zip64=True)),
    "tar ustar": ("tar", "", lambda: tar_bytes(FILES, tarfile.USTAR_FORMAT)),
    "tar GNU": ("tar", "", lambda: tar_bytes(FILES, tarfile.GNU_FORMAT)),
    "tar pax": ("tar", "", lambda: tar_bytes(FILES, tarfile.PAX_FORMAT)),
    "tar gzip": ("tar", "gzip", lambda: gzip.compress(tar_bytes(FILES))),
    "tar gzip, several members": ("tar", "gzip", lambda: gzip_in_members(tar_bytes(FILES))),
    "tar bzip2": ("tar", "bzip2", lambda: bz2.compress(tar_bytes(FILES))),
    "tar xz": ("tar", "xz", lambda: lzma.compress(tar_bytes(FILES))),
    "tar xz, two streams": ("tar", "xz", lambda: two_xz_streams(tar_bytes(FILES))),
    "tar Zstandard": ("tar", "zstandard", lambda: zstandard.compress(tar_bytes(FILES))),
    "tar Zstandard, several frames": ("tar", "zstandard", lambda: zstd_in_frames(tar_bytes(FILES))),
}


@pytest.mark.parametrize("kind", READ)
def test_every_format_gives_the_same_files_whatever_its_name(kind: str, tmp_path: Path, workspace: Workspace) -> None:
    form, compression, build = READ[kind]
    (tmp_path / "x.dat").write_bytes(build())
    output = unpack(tmp_path / "x.dat", workspace)
    assert (output.record.details["format"], output.record.details["compression"]) == (form, compression)
    check_files(output.folder, output.record.details["files"])


def check_files(folder: Path, listed: list[dict[str, object]]) -> None:
    assert [entry["path"] for entry in listed] == sorted(FILES)
    for entry in listed:
        content = FILES[str(entry["path"])]
        assert (folder / "files" / str(entry["path"])).read_bytes() == content
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)


def on_disk(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "in"


@needs_seven_zip
@pytest.mark.parametrize("options", [[], ["-mx0"], ["-ms=off", "-m0=bzip2"], ["-mx9", "-mhc=off"]])
def test_a_7z_archive_of_any_method_gives_the_same_files(
    options: list[str], tmp_path: Path, workspace: Workspace
) -> None:
    command = [str(SEVEN_ZIP), "a", "-bd", *options, str(tmp_path / "x.7z"), "."]
    subprocess.run(command, cwd=on_disk(tmp_path), check=True, capture_output=True)
    (tmp_path / "x.7z").rename(tmp_path / "x.dat")
    output = unpack(tmp_path / "x.dat", workspace)
    assert output.record.details["format"] == "7z"
    check_files(output.folder, output.record.details["files"])


@needs_bsdtar
def test_bsdtar_serves_for_7z_where_7_zip_is_missing(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.7z"
    command = [str(BSDTAR), "-cf", str(path), "--format=7zip", *FILES]
    subprocess.run(command, cwd=on_disk(tmp_path), check=True, env={"LC_ALL": "C.UTF-8"})
    only_bsdtar(monkeypatch)
    output = unpack(path, workspace)
    check_files(output.folder, output.record.details["files"])
    content = bytearray(path.read_bytes())
    content[500_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="bsdtar says"):
        unpack(path, workspace)


def only_bsdtar(monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(programs.shutil, "which", lambda name: real(name) if name == "bsdtar" else None)


@needs_bsdtar
@pytest.mark.parametrize(("pack", "pack_file"), [(rar5_bytes, rar5_file), (rar4_bytes, rar4_file)])
def test_a_rar_archive_gives_its_files(
    pack: Callable[[bytes], bytes],
    pack_file: Callable[[bytes, bytes], bytes],
    tmp_path: Path,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_bsdtar(monkeypatch)
    files = {name: content for name, content in FILES.items() if name.isascii()}
    path = tmp_path / "x.rar"
    path.write_bytes(pack(b"".join(pack_file(name.encode(), content) for name, content in files.items())))
    output = unpack(path, workspace)
    assert output.record.details["format"] == "rar"
    assert {entry["path"]: entry["sha256"] for entry in output.record.details["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


@needs_bsdtar
def test_a_flipped_bit_in_a_rar_is_found_although_bsdtar_does_not_find_it(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_bsdtar(monkeypatch)
    content = bytearray(rar5_bytes(rar5_file(b"a.bin", FILES["c.bin"])))
    content[90_000] ^= 1
    (tmp_path / "x.rar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"checksum.*'a\.bin'"):
        unpack(tmp_path / "x.rar", workspace)
    assert list(workspace.archives.iterdir()) == []


@pytest.mark.parametrize("content", [b"7z\xbc\xaf\x27\x1c" + bytes(600), rar5_bytes(rar5_file(b"a"))])
def test_without_a_program_the_message_names_those_to_install(
    content: bytes, tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs.shutil, "which", lambda name: None)
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"no program on this machine.*7zz.*bsdtar.*PATH.*apt install"):
        unpack(tmp_path / "x", workspace)


def test_names_that_are_not_said_to_be_utf8_are_read_as_what_they_are(tmp_path: Path, workspace: Workspace) -> None:
    members = [
        ZipMember("Œil.jpg".encode()),
        ZipMember("Ä.jpg".encode("cp437")),
        ZipMember("é.jpg".encode(), flags=0x800),
    ]
    (tmp_path / "a.zip").write_bytes(zip_bytes(members))
    output = unpack(tmp_path / "a.zip", workspace)
    assert {entry["path"] for entry in output.record.details["files"]} == {"Œil.jpg", "Ä.jpg", "é.jpg"}


def test_harmless_pax_headers_are_no_reason_to_refuse(tmp_path: Path, workspace: Workspace) -> None:
    content = pax(pax_record("comment", b"0123abcd"), b"g")
    content += pax(pax_record("mtime", b"1.5") + pax_record("size", b"4")) + tar_file(b"a.txt")
    content += tar_header(b"label", 0, b"V") + tar_header(b"folder/", 0, b"5") + tar_header(b"old/", 0, b"\0")
    (tmp_path / "a.tar").write_bytes(content + tar_file(b"folder/b.txt", prefix=b"long/prefix") + TAR_END)
    output = unpack(tmp_path / "a.tar", workspace)
    assert [entry["path"] for entry in output.record.details["files"]] == ["a.txt", "long/prefix/folder/b.txt"]


def test_an_archive_that_unpacks_itself_is_refused_for_what_stands_before_it(
    tmp_path: Path, workspace: Workspace
) -> None:
    (tmp_path / "a.exe").write_bytes(zip_bytes([ZipMember(b"a")], prefix=b"MZ" + bytes(600)))
    with pytest.raises(ArchiveError, match="a Windows program, perhaps an archive that unpacks itself"):
        unpack(tmp_path / "a.exe", workspace)


class TestArchivesInside:
    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Path:
        path = tmp_path / "outer.zip"
        path.write_bytes(zip_bytes([ZipMember(name.encode(), content) for name, content in files.items()]))
        return path

    def paths(self, tmp_path: Path, workspace: Workspace, files: dict[str, bytes], **settings: int) -> list[str]:
        output = unpack(self.make(tmp_path, files), workspace, UnpackSettings(**settings))
        found = {path.relative_to(output.folder / "files").as_posix() for path in output.folder.glob("files/**/*.*")}
        listed = [str(entry["path"]) for entry in output.record.details["files"]]
        assert set(listed) <= found
        return listed

    def test_they_are_unpacked_into_folders_named_for_them(self, tmp_path: Path, workspace: Workspace) -> None:
        inner = zip_bytes([ZipMember(b"x.jpg"), ZipMember(b"more.tgz", gzip.compress(tar_bytes({"y.jpg": b"deep"})))])
        files = {"set/Training.zip": inner, "set/labels.csv": b"a,b", "test.tar": tar_bytes({"z.jpg": b"1"})}
        expected = ["set/Training/more/y.jpg", "set/Training/x.jpg", "set/labels.csv", "test/z.jpg"]
        assert self.paths(tmp_path, workspace, files) == expected

    def test_the_record_names_them(self, tmp_path: Path, workspace: Workspace) -> None:
        inner = zip_bytes([ZipMember(b"x.jpg")])
        output = unpack(self.make(tmp_path, {"a.zip": inner}), workspace)
        assert output.record.details["nested"] == [
            {
                "path": "a.zip", "bytes": len(inner), "sha256": hashlib.sha256(inner).hexdigest(), "folder": "a",
                "format": "zip", "compression": "",
            }
        ]  # fmt: skip
        assert output.record.counts == {"files": 1, "bytes": 4, "nested": 1, "set_aside": 0}

    def test_where_the_short_name_is_taken_the_folder_has_the_whole_one(
        self, tmp_path: Path, workspace: Workspace
    ) -> None:
        inner = zip_bytes([ZipMember(b"x.jpg")])
        files = {
            "a.zip": inner,
            "A/y.jpg": b"1",
            "b.tar.gz": gzip.compress(tar_bytes({"p.jpg": b""})),
            "b.zip": inner,
            "c": inner,
        }
        assert self.paths(tmp_path, workspace, files) == ["A/y.jpg", "a.zip/x.jpg", "b.zip/x.jpg", "b/p.jpg", "c/x.jpg"]

    def test_what_only_looks_like_an_archive_stays_a_file(self, tmp_path: Path, workspace: Workspace) -> None:
        array = io.BytesIO()
        office = [ZipMember(b"folder/other.xml"), ZipMember(b"[Content_Types].xml"), ZipMember(b"xl/a.xml")]
        np.savez(array, image=np.zeros(3))
        files = {
            "labels.xlsx": zip_bytes(office),
            "odd.xlsx": zip_bytes([ZipMember(b"xl/a.xml")], gap=b"what another program leaves"),
            "masks.npz": array.getvalue(),
            "scan.nii.gz": gzip.compress(b"a scan" * 200),
            "zeros.raw": bytes(2048),
            "broken.gz": b"\x1f\x8b" + bytes(50),
        }
        assert self.paths(tmp_path, workspace, files, max_nesting=0) == sorted(files)

    def test_the_one_that_stands_too_deep_is_named_with_the_setting(self, tmp_path: Path, workspace: Workspace) -> None:
        inner = zip_bytes([ZipMember(b"b.zip", zip_bytes([ZipMember(b"x.jpg")]))])
        with pytest.raises(ArchiveError, match=r"'a/b\.zip'.*max_nesting = 1.*raise unpack\.max_nesting"):
            self.paths(tmp_path, workspace, {"a.zip": inner}, max_nesting=1)
        assert self.paths(tmp_path, workspace, {"a.zip": inner}, max_nesting=2) == ["a/b/x.jpg"]

    def test_they_count_into_the_same_limits(self, tmp_path: Path, workspace: Workspace) -> None:
        noise = FILES["c.bin"][:6000]
        files = {name: zip_bytes([ZipMember(b"x.bin", noise)]) for name in ("a.zip", "b.zip")}
        with pytest.raises(ArchiveError, match="max_total_bytes"):
            self.paths(tmp_path, workspace, files, max_total_bytes=20_000)
        assert self.paths(tmp_path, workspace, files, max_total_bytes=25_000) == ["a/x.bin", "b/x.bin"]


def test_a_rar_4_name_is_turned_into_unicode_as_its_second_half_says() -> None:
    how = bytes([0b00_01_10_11])  # a byte; a byte with the common high byte 0x04; two bytes; a run of the plain name
    field = b"a__.jpg\0" + b"\x04" + how + b"a" + b"\x36" + b"\xe6\x5d" + b"\x02"
    assert name_of_version_4(field, is_unicode=True, label="x") == "aж左.jpg"
    shifted = b"a\x20\x20\0" + b"\x04" + bytes([0b00_11_00_00]) + b"a" + b"\x80" + b"\x10"
    assert name_of_version_4(shifted, is_unicode=True, label="x") == "aаа"
    assert name_of_version_4("Œil".encode(), is_unicode=True, label="x") == "Œil"
    assert name_of_version_4("Ä".encode("cp437"), is_unicode=False, label="x") == "Ä"
