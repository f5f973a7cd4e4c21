from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import random
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glaucoma.archives import extraction
from glaucoma.archives import unpack as unpack_module
from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.unpack import unpack
from glaucoma.archives.zip_directory import read_directory
from glaucoma.errors import ArchiveError, DiskSpaceError
from glaucoma.workspace import Workspace

FILES = {"set/a.jpg": b"first" * 1000, "set/deep/er/b.txt": b"", "c.bin": os.urandom(1_500_000)}
Maker = Callable[..., Path]


def written(workspace: Workspace) -> list[str]:
    """All that a refused archive left behind, locks aside."""
    return [str(p) for p in workspace.root.rglob("*") if p.is_file() and ".locks" not in p.parts] + [
        str(p) for p in workspace.archives.glob("*")
    ]


def outside(tmp_path: Path) -> set[str]:
    return {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("kind", "compression"), [("zip", ""), ("tar", ""), ("tar", "gz"), ("tar", "bz2"), ("tar", "xz")]
)
def test_every_format_gives_the_same_files_whatever_the_name_says(
    kind: str, compression: str, make_zip: Maker, make_tar: Maker, workspace: Workspace
) -> None:
    path = make_zip(FILES, "x.dat") if kind == "zip" else make_tar(FILES, "x.dat", f"w:{compression}")
    output = unpack(path, workspace)
    assert output.record.details["format"] == kind
    listed = {entry["path"]: entry for entry in output.record.details["files"]}
    assert list(listed) == sorted(FILES)
    for name, content in FILES.items():
        assert (output.folder / "files" / name).read_bytes() == content
        assert listed[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert listed[name]["bytes"] == len(content)
    assert output.record.counts == {"files": 3, "bytes": sum(map(len, FILES.values())), "nested": 0, "set_aside": 0}
    assert output.record.details["archive_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_second_call_reuses_the_first_and_two_at_once_share_the_work(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip(FILES)
    outputs: list[Any] = []
    threads = [threading.Thread(target=lambda: outputs.append(unpack(path, workspace))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.reused for one in outputs) == [False, True, True]
    assert unpack(path, workspace).reused
    assert len(list(workspace.archives.iterdir())) == 1


def test_unpacked_files_are_read_only_because_later_stages_link_to_them(make_zip: Maker, workspace: Workspace) -> None:
    output = unpack(make_zip(FILES), workspace)
    mode = stat.S_IMODE((output.folder / "files" / "c.bin").stat().st_mode)
    assert mode & 0o222 == 0


def test_what_desktops_leave_behind_is_skipped_and_named(make_zip: Maker, workspace: Workspace) -> None:
    junk = ["__MACOSX/a/._b.jpg", "a/._b.jpg", "a/Thumbs.db", "a/desktop.ini", ".DS_Store"]
    output = unpack(make_zip({"a/b.jpg": b"1"} | dict.fromkeys(junk, b"x")), workspace)
    assert [entry["path"] for entry in output.record.details["files"]] == ["a/b.jpg"]
    assert {entry["source"] for entry in output.record.details["set_aside"]} == set(junk)
    assert output.record.counts["set_aside"] == 5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.txt", "climbs out"),
        ("a/../../evil.txt", "climbs out"),
        (".", "root for its name"),
        ("././.", "root for its name"),
        ("/tmp/evil.txt", "absolute"),
        ("C:/evil.txt", "drive"),
        ("C:evil.txt", "drive"),
        ("./C:/evil.txt", "drive"),
        ("a\\..\\evil.txt", "backslash"),
        ("a/nul.txt", "reserved"),
        ("a/new\nline.txt", "control character"),
        ("x" * 300, "longer than 255"),
        ("/".join("abcdefghij" * 4) + "/f", "folders deep"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_unsafe_name_refuses_the_whole_archive(
    kind: str, name: str, said: str, make_zip: Maker, make_tar: Maker, workspace: Workspace, tmp_path: Path
) -> None:
    files = {"good.txt": b"good", name: b"evil"}
    path = make_zip(files) if kind == "zip" else make_tar(files)
    before = outside(tmp_path)
    with pytest.raises(ArchiveError, match=said):
        unpack(path, workspace)
    assert written(workspace) == []
    assert outside(tmp_path) == before


def test_a_name_cut_at_a_nul_byte_is_refused_with_its_whole_name(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"good.jpgXevil": b"1"})
    path.write_bytes(path.read_bytes().replace(b"good.jpgXevil", b"good.jpg\0evil"))
    with pytest.raises(ArchiveError, match="control character"):
        unpack(path, workspace)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/B.txt": b"1", "a/b.TXT": b"2"}, "letter case"),
        ({"a/x.txt": b"1", "A/y.txt": b"2"}, "letter case"),
        ({"a": b"1", "a/b": b"2"}, "a file and a folder"),
        ({"a/b": b"1", "a": b"2"}, "a file and a folder"),
        ({"caf\u00e9": b"1", "cafe\u0301": b"2"}, "twice"),
        ({"./a": b"1", "a": b"2"}, "twice"),
    ],
)
def test_two_members_that_would_land_on_one_path_are_refused(
    kind: str, files: dict[str, bytes], said: str, make_zip: Maker, make_tar: Maker, workspace: Workspace
) -> None:
    with pytest.raises(ArchiveError, match=said):
        unpack(make_zip(files) if kind == "zip" else make_tar(files), workspace)
    assert written(workspace) == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "special file"),
    ],
)
def test_a_tar_member_that_is_no_plain_file_is_refused(
    kind: bytes, said: str, make_tar: Maker, workspace: Workspace
) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = kind, "../../etc/passwd"
    with pytest.raises(ArchiveError, match=said):
        unpack(make_tar({"good": b"1", "link": link}), workspace)
    assert written(workspace) == []


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="symbolic link"):
        unpack(path, workspace)


def test_an_encrypted_zip_says_so(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.jpg": b"1"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"encrypted.*password"):
        unpack(path, workspace)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (UnpackSettings(max_files=2), "max_files"),
        (UnpackSettings(max_file_bytes=1_000_000), "max_file_bytes"),
        (UnpackSettings(max_total_bytes=1_500_100), "max_total_bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_over_a_limit_is_refused_and_the_setting_named(
    kind: str, settings: UnpackSettings, said: str, make_zip: Maker, make_tar: Maker, workspace: Workspace
) -> None:
    path = make_zip(FILES) if kind == "zip" else make_tar(FILES, mode="w:gz")
    with pytest.raises(ArchiveError, match=said):
        unpack(path, workspace, settings)
    assert written(workspace) == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_decompression_bomb_is_refused(kind: str, make_zip: Maker, make_tar: Maker, workspace: Workspace) -> None:
    bomb = {"zeros": bytes(20_000_000)}
    path = make_zip(bomb) if kind == "zip" else make_tar(bomb, mode="w:bz2")
    with pytest.raises(ArchiveError, match="max_ratio"):
        unpack(path, workspace)
    assert written(workspace) == []


def test_zip_members_that_share_bytes_are_refused(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.bin": os.urandom(4000), "b.bin": os.urandom(4000)}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = (0).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="same bytes"):
        unpack(path, workspace)


def test_a_table_of_contents_too_large_for_memory_is_refused_unread(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.bin": b"1"})
    content = bytearray(path.read_bytes())
    content[-10:-6] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="table of contents of 4000000000 bytes"):
        unpack(path, workspace)


def test_a_zip_of_more_files_than_its_short_end_record_can_count_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65_600):
            archive.writestr(f"{number}", b"")
        archive.comment = b"a comment"
    content = path.read_bytes()
    assert b"PK\x06\x07" in content
    with path.open("rb") as raw:
        directory = read_directory(raw, "a.zip", max_files=100_000)
    assert len(directory.entries) == 65_600
    assert directory.start == content.find(b"PK\x01\x02")


def test_a_zip_whose_sizes_lie_is_refused(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.bin": os.urandom(4000)})
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    for place in (entry + 24, 22):
        content[place : place + 4] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"damaged.*larger than the 10 bytes.*'a\.bin'"):
        unpack(path, workspace)
    assert written(workspace) == []


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tbz", "w:bz2"), ("a.txz", "w:xz")])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_tar_cut_short_is_never_taken_for_whole(
    name: str, mode: str, share: float, make_tar: Maker, workspace: Workspace
) -> None:
    path = make_tar({f"{i}.bin": os.urandom(20_000) for i in range(10)}, name, mode)
    content = path.read_bytes()
    end = content.rstrip(b"\0") if mode == "w" else content  # a plain tar's padding is nothing that could be missed
    path.write_bytes(end[: int(len(end) * share)])
    with pytest.raises(ArchiveError, match=r"damaged|cut short|decompressed"):
        unpack(path, workspace)
    assert written(workspace) == []


def test_a_tar_with_a_broken_header_in_the_middle_is_not_taken_for_its_end(
    make_tar: Maker, workspace: Workspace
) -> None:
    path = make_tar({"a": bytes(512), "b": bytes(512)})
    content = bytearray(path.read_bytes())
    content[1024 + 10] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="end marker"):
        unpack(path, workspace)


def test_files_behind_a_tars_end_marker_are_not_lost_silently(make_tar: Maker, workspace: Workspace) -> None:
    first, second = make_tar({"a": b"1"}, "1.tar"), make_tar({"b": b"2"}, "2.tar")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(ArchiveError, match="more data follows"):
        unpack(first, workspace)


def test_a_tar_header_that_asks_for_a_gigabyte_is_refused(tmp_path: Path, workspace: Workspace) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10**9
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(ArchiveError, match="header of"):
        unpack(path, workspace)


def test_long_names_of_every_tar_dialect_are_read(tmp_path: Path, workspace: Workspace) -> None:
    name = "folder/" * 12 + "photograph-" * 10 + ".jpg"
    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{dialect}.tar"
        with tarfile.open(path, "w", format=dialect) as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        assert (unpack(path, workspace).folder / "files" / name).read_bytes() == b"abc"


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_zip_cut_short_is_refused(share: float, make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip(FILES)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ArchiveError, match="damaged or was cut short"):
        unpack(path, workspace)
    assert written(workspace) == []


def test_a_flipped_bit_in_a_zip_is_found(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.bin": os.urandom(5000)}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="CRC"):
        unpack(path, workspace)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no archive"),
        (b"", "is empty"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(600), "header is broken"),
        (b"Rar!\x1a\x07\x02\x00" + bytes(600), "no known version of RAR"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "begins as zstandard and cannot be decompressed"),
        (b"MZ" + bytes(600), "a Windows program"),
        (b"\x04\x22\x4d\x18" + bytes(600), "compressed with LZ4"),
        (b"\n<!DOCTYPE html><html>Please log in", "web page"),
        (b"hello, world", "no archive that is known"),
        (gzip.compress(b"just a text" * 100, mtime=0), "a single gzip-compressed file"),
        (bz2.compress(b"just a text" * 100), "a single bzip2-compressed file"),
        (lzma.compress(b"just a text" * 100), "a single xz-compressed file"),
        (gzip.compress(random.Random(0).randbytes(9000), mtime=0)[:200], "cannot be decompressed"),
        (b"PK\x05\x06" + bytes(18), "holds no files"),
        (bytes(10240), "holds no files"),
    ],
)
def test_what_is_no_dataset_archive_is_refused_by_what_it_is(
    content: bytes | None, said: str, tmp_path: Path, workspace: Workspace
) -> None:
    path = tmp_path / "a.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchiveError, match=said):
        unpack(path, workspace)
    assert written(workspace) == []


def test_a_folder_is_no_archive(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(ArchiveError, match=r"is a folder.*pack the folder"):
        unpack(tmp_path, workspace)


def test_an_archive_of_rubbish_alone_holds_no_files(make_zip: Maker, workspace: Workspace) -> None:
    with pytest.raises(ArchiveError, match="only 1 that a desktop left behind"):
        unpack(make_zip({"Thumbs.db": b"1"}), workspace)


def test_a_zip_made_with_another_method_says_so(make_zip: Maker, workspace: Workspace) -> None:
    path = make_zip({"a.bin": b"1234"}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[8] = content[content.rfind(b"PK\x01\x02") + 10] = 9  # Deflate64
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"form that is not read.*Deflate64"):
        unpack(path, workspace)


def test_too_little_disk_space_is_said_before_anything_is_written(
    make_zip: Maker, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(FILES)
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError, match="Nothing was written"):
        unpack(path, workspace)
    assert written(workspace) == []


def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    make_tar: Maker, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = extraction._write_all
    calls: list[int] = []

    def fills_up(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(extraction, "_write_all", fills_up)
    with pytest.raises(DiskSpaceError, match="filled up while unpacking"):
        unpack(make_tar(FILES), workspace)
    assert written(workspace) == []


def test_an_archive_that_changes_while_it_is_read_is_refused(
    make_zip: Maker, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(FILES)
    real = unpack_module.extract

    def touches(*arguments: Any) -> Any:
        result = real(*arguments)
        os.utime(path, ns=(1, 1))
        return result

    monkeypatch.setattr(unpack_module, "extract", touches)
    with pytest.raises(ArchiveError, match="changed while it was read"):
        unpack(path, workspace)
    assert written(workspace) == []


def test_progress_goes_from_nothing_to_all(make_zip: Maker, workspace: Workspace) -> None:
    seen: list[float] = []
    unpack(make_zip(FILES), workspace, report=lambda share, _: seen.append(share))
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


@pytest.mark.real
@pytest.mark.skipif("ARC_REAL_DATA" not in os.environ, reason="ARC_REAL_DATA is not set")
def test_a_public_dataset_comes_out_byte_for_byte(tmp_path: Path, workspace: Workspace) -> None:
    source = Path(os.environ["ARC_REAL_DATA"]) / "acrima-sample"
    packed = shutil.make_archive(str(tmp_path / "acrima"), "zip", source)
    output = unpack(Path(packed), workspace)
    for path in source.rglob("*.*"):
        assert (output.folder / "files" / path.relative_to(source)).read_bytes() == path.read_bytes()
