from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glaucoma.archives.names import NameRegister, safe_path
from glaucoma.archives.unpack import unpack
from glaucoma.errors import ArchiveError
from glaucoma.workspace import Workspace

parts = st.one_of(st.sampled_from(["..", ".", "", "a", "A", "C:", "b\\c", "nul", "é", "\x00"]), st.text(max_size=12))
names = st.lists(parts, min_size=1, max_size=6).map("/".join)


@given(names)
def test_a_name_is_refused_or_stays_inside(name: str) -> None:
    try:
        path = safe_path(name, max_depth=32)
    except ArchiveError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert "\\" not in str(path)
    assert Path("/root/of/it").joinpath(path).resolve().is_relative_to("/root/of/it")
    assert safe_path(str(path), max_depth=32) == path


@given(st.lists(st.text("abAB", min_size=1, max_size=2), max_size=8))
def test_names_that_pass_the_register_differ_on_any_file_system(candidates: list[str]) -> None:
    register, kept = NameRegister(), []
    for name in candidates:
        try:
            register.add_file(PurePosixPath(name))
        except ArchiveError:
            continue
        kept.append(name.casefold())
    assert len(kept) == len(set(kept))
    assert set(kept) == {name.casefold() for name in candidates}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(names, st.binary(max_size=300)), min_size=1, max_size=5),
    st.sampled_from(["zip", "tar"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3),
    st.floats(0.5, 1.0),
)
def test_whatever_an_archive_holds_nothing_lands_outside_and_nothing_is_half_there(
    members: list[tuple[str, bytes]], kind: str, flips: list[tuple[int, int]], kept: float
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        archive = root / "a"
        content = bytearray(_zip(members) if kind == "zip" else _tar(members))
        for place, mask in flips:
            content[place % len(content)] ^= mask
        archive.write_bytes(content if kept > 0.9 else content[: int(len(content) * kept)])
        workspace = Workspace.at(root / "workspace")
        try:
            output = unpack(archive, workspace)
        except ArchiveError:
            assert [p for p in workspace.archives.rglob("*") if p.is_file()] == []
        else:
            listed = {entry["path"] for entry in output.record.details["files"]}
            files = output.folder / "files"
            assert {str(p.relative_to(files)) for p in files.rglob("*") if p.is_file()} == listed
        assert {p.name for p in root.iterdir()} == {"a", "workspace"}


def _zip(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in dict(members).items():
            info = zipfile.ZipInfo()
            info.filename = name.encode("utf-8", "replace").decode()
            archive.writestr(info, content)
    return buffer.getvalue()


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
