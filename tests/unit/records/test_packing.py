"""A pack holds a folder, all of it and nothing else; one that was tampered with writes nothing anywhere."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from glaucoma.errors import ArcError, ArchiveError, IntegrityError
from glaucoma.records.packing import Contents, PackedFile, PackedLink, check, contents_of, listed, pack, unpack

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
Forge = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "experiments" / "cls-x-1"
    (made / "results" / "0123").mkdir(parents=True)
    (made / "logs").mkdir()
    (made / "results" / "0123" / "metrics.json").write_text("{}")
    (made / "results" / "val").symlink_to("0123")
    (made / "metadata.json").write_bytes(b"PK\x03\x04 looks like an archive" * 1000)
    (made / ".metadata.lock").touch()
    os.utime(made / "metadata.json", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    return made


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A pack made by hand: its list, and members that may differ from it."""

    def made(contents: Contents, members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> Path:
        path = tmp_path / "forged.tar.zst"
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name, data in [("contents.json", contents.model_dump_json().encode()), *members]:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                if name != "contents.json":
                    member.type, member.linkname = kind, "/etc/passwd"
                tar.addfile(member, io.BytesIO(data))
        path.write_bytes(zstandard.compress(raw.getvalue()))
        return path

    return made


def listing(
    *names: str, links: tuple[tuple[str, str], ...] = (), folders: tuple[str, ...] = (), name: str = "cls-x-1"
) -> Contents:
    return Contents(
        kind="experiment",
        name=name,
        files=[PackedFile(path=one, bytes=0, sha256=EMPTY, mtime_ns=0) for one in names],
        folders=list(folders),
        links=[PackedLink(path=path, target=target) for path, target in links],
    )


def test_what_is_packed_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "archived" / "cls-x-1.tar.zst"
    contents = pack(folder, target, "experiment")
    assert listed(target) == check(target) == contents
    back = tmp_path / "back" / "cls-x-1"
    unpack(target, back, "experiment")
    assert contents_of(back, "experiment") == contents
    assert (back / "results" / "val" / "metrics.json").read_text() == "{}"
    assert (back / "logs").is_dir()
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_the_same_folder_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    pack(folder, one, "experiment")
    pack(folder, other, "experiment")
    assert one.read_bytes() == other.read_bytes()


def test_a_link_that_leads_out_is_not_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "logs" / "out").symlink_to("../../other")
    with pytest.raises(IntegrityError, match="leads out of it"):
        pack(folder, tmp_path / "x.tar.zst", "experiment")
    assert not list(tmp_path.glob("*.zst"))


def test_a_byte_that_changed_is_found_and_nothing_is_unpacked(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "cls-x-1.tar.zst"
    pack(folder, target, "experiment")
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(bytes(content))
    with pytest.raises(ArcError):
        unpack(target, tmp_path / "back", "experiment")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("contents", "members"),
    [
        (listing("a"), []),
        (listing("a"), [("files/a", b"other")]),
        (listing("a"), [("files/a", b""), ("files/a", b"")]),
        (listing("a"), [("files/a", b""), ("files/b", b"")]),
        (listing("a"), [("files/a", b""), ("files/../../b", b"")]),
        (listing("../a"), [("files/../a", b"")]),
        (listing("/a"), [("files//a", b"")]),
        (listing("a", "A"), [("files/a", b""), ("files/A", b"")]),
        (listing("d/a", links=(("d", ".."),)), [("files/d/a", b"")]),
        (listing(links=(("out", "/etc"),)), []),
        (listing(links=(("out", "../../etc"),)), []),
        (listing(links=(("d/e/up", "../.."), ("out", "d/e/up/../.."))), []),
        (listing(folders=("../d",)), []),
        (listing(name="../x"), []),
        (listing(name="another"), []),
    ],
    ids=[
        *("missing", "other bytes", "twice", "not listed", "climbs", "list climbs", "absolute", "letter case"),
        *("under a link", "absolute link", "climbing link", "link through a link", "climbing folder"),
        *("climbing name", "another's"),
    ],
)
def test_a_hostile_pack_is_refused_and_leaves_nothing(
    contents: Contents, members: list[tuple[str, bytes]], forge: Forge, tmp_path: Path
) -> None:
    path = forge(contents, members)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArcError):
        unpack(path, tmp_path / "cls-x-1", "experiment")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_pack_whose_member_is_no_file_is_refused(kind: bytes, forge: Forge, tmp_path: Path) -> None:
    path = forge(listing("a"), [("files/a", b"")], kind)
    with pytest.raises(ArchiveError):
        unpack(path, tmp_path / "cls-x-1", "experiment")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(zstandard.compress(b"\0" * 10_240))
    with pytest.raises(ArchiveError, match=r"contents\.json"):
        listed(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ArchiveError, match="no pack"):
        listed(path)
