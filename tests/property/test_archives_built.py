from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.streams import BrokenStreamError, Compression, decompressed
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

PACKERS = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: zstandard.compress,
}
kinds = st.sampled_from(sorted(PACKERS))
LIMITS = UnpackSettings(max_total_bytes=1_000_000, max_files=30, max_seconds=20)
hostile_names = st.one_of(
    st.sampled_from([b"..", b"../evil", b"/evil", b"a", b"A", b"a/b", b"C:x", b"a\\b", b"nul", b"", b"a.zip"]),
    st.just(b"x" * 300),
    st.binary(max_size=12),
)
short = st.binary(max_size=60)
numbers = st.sampled_from([0, 1, 4, 8, 12, 99, 0xFFFF])
lies = st.dictionaries(st.sampled_from(["flags", "method", "crc", "packed", "size"]), numbers, max_size=2)
zip_members = st.builds(
    ZipMember,
    name=hostile_names,
    content=short,
    method=st.sampled_from([0, 8]),
    flags=st.sampled_from([0, 8, 0x800]),
    mode=st.sampled_from([0, 0o100644, 0o120777, 0o040755, 0o020666]),
    extra=short,
    local_extra=st.binary(max_size=8),
    descriptor=st.binary(max_size=24),
    local=lies,
    central=lies,
)
zips = st.builds(
    lambda members, comment, end: zip_bytes(members, comment=comment, **end),
    st.lists(zip_members, max_size=4),
    short,
    st.dictionaries(st.sampled_from(["entries", "length", "start", "disk"]), numbers, max_size=1),
)
tar_members = st.one_of(
    st.builds(lambda name, content: tar_file(name[:100], content), hostile_names, short),
    st.builds(
        lambda name, size, kind: tar_header(name[:100], size, kind),
        hostile_names,
        st.one_of(st.integers(0, 2000), st.binary(min_size=12, max_size=12)),
        st.binary(min_size=1, max_size=1),
    ),
    st.builds(
        lambda key, value, kind: pax(pax_record(key, value), kind),
        st.sampled_from(["path", "size", "linkpath", "GNU.sparse.name", "comment"]),
        short,
        st.sampled_from([b"x", b"g"]),
    ),
)
tars = st.lists(tar_members, max_size=5).map(lambda parts: b"".join(parts) + TAR_END)
rars = st.one_of(
    st.lists(st.builds(lambda name, extra: rar5_file(name, extra=extra), hostile_names, short), max_size=3).map(
        lambda files: rar5_bytes(b"".join(files) + b"x")  # broken behind the files, so that no program is started
    ),
    st.lists(st.builds(lambda name, flags: rar4_file(name, flags=flags), hostile_names, numbers), max_size=3).map(
        lambda files: rar4_bytes(b"".join(files) + b"x")
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(zips, tars, tars.map(gzip.compress), tars.map(zstandard.compress), rars), st.integers(0, 2))
def test_an_archive_built_of_lies_ends_whole_or_not_at_all(content: bytes, nesting: int) -> None:
    for _ in range(nesting):
        content = zip_bytes([ZipMember(b"in.zip", content)])
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a").write_bytes(content)
        workspace = Workspace(root / "workspace")
        try:
            output = unpack(root / "a", workspace, LIMITS)
        except ArchiveError:
            assert not workspace.archives.exists() or list(workspace.archives.iterdir()) == []
        else:
            files = output.folder / "files"
            found = {path.relative_to(files).as_posix(): path for path in files.rglob("*") if not path.is_dir()}
            assert set(found) == {entry["path"] for entry in output.record.details["files"]}
            assert all(path.is_file() and not path.is_symlink() for path in found.values())
        assert {path.name for path in root.iterdir()} <= {"a", "workspace"}


@given(
    st.sampled_from(sorted(PACKERS)), st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 700)
)
def test_streams_one_behind_the_other_give_all_their_bytes(kind: Compression, parts: list[bytes], step: int) -> None:
    stream = decompressed(io.BytesIO(b"".join(PACKERS[kind](part) for part in parts)), kind)
    read = b""
    while chunk := stream.read(step):
        read += chunk
    assert read == b"".join(parts)


@given(kinds, st.binary(min_size=1, max_size=2000), st.data())
def test_a_stream_cut_anywhere_or_with_a_byte_behind_it_is_broken(
    kind: Compression, content: bytes, data: st.DataObject
) -> None:
    packed = PACKERS[kind](content)
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    for broken in (cut, packed + b"\1"):
        try:
            decompressed(io.BytesIO(broken), kind).read()
        except BrokenStreamError:
            continue
        raise AssertionError(f"{len(broken)} of {len(packed)} bytes were taken for whole")


names = st.lists(st.sampled_from(["a", "b", "left eye", "é", "x.jpg"]), min_size=1, max_size=4).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(names.map(lambda name: name + ".bin"), st.binary(max_size=2000).map(b"#".__add__), max_size=6),
    st.sampled_from(["zip", "stored", "tar", "gnu"]),
)
def test_what_honest_programs_pack_comes_out_as_it_went_in(files: dict[str, bytes], kind: str) -> None:
    files["always.bin"] = b""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        if kind in ("zip", "stored"):
            method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
            with zipfile.ZipFile(path, "w", method) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        else:
            path.write_bytes(tar_bytes(files, tarfile.GNU_FORMAT if kind == "gnu" else tarfile.PAX_FORMAT))
        output = unpack(path, Workspace(Path(folder) / "workspace"))
        assert {
            str(entry["path"]): zlib.crc32((output.folder / "files" / entry["path"]).read_bytes())
            for entry in output.record.details["files"]
        } == {name: zlib.crc32(content) for name, content in files.items()}
