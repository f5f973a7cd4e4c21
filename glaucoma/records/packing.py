"""A folder in one file and back: a tar compressed with Zstandard, which begins with the list of all that it holds.

Written whole or not at all, and read back, every byte, before anybody may remove the folder. It is read by the reader
for archives from outside (`glaucoma.archives`), and nothing that the list does not name comes out of it: a pack may
have lain anywhere meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field

from glaucoma.archives.disk import full_disk_named, require_space
from glaucoma.archives.formats import ArchiveFormat, checked_file, recognise
from glaucoma.archives.limits import Budget
from glaucoma.archives.members import Member
from glaucoma.archives.names import NameRegister, safe_path
from glaucoma.archives.readers import open_members
from glaucoma.archives.settings import UnpackSettings
from glaucoma.archives.streams import Compression
from glaucoma.errors import ArchiveError, IntegrityError, problems
from glaucoma.provenance import file_sha256, remove_tree, sync_folder

SUFFIX = ".tar.zst"
_LIST, _FILES = "contents.json", "files"
_LIMITS = UnpackSettings(max_total_bytes=10**12, max_file_bytes=10**12, max_files=1_000_000, max_ratio=100_000)
_LONGEST_LIST_BYTES = 256 * 1024 * 1024
_LEVEL = 3
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Kind = Literal["experiment", "cycle"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackedFile(_Part):
    """A file of the folder."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mtime_ns: int = Field(description="When it was last written, in nanoseconds since 1970.")


class PackedLink(_Part):
    """A symbolic link of the folder to something else in it."""

    path: str
    target: str


class Contents(_Part):
    """`contents.json`, the first member of a pack."""

    format_version: Literal[1] = 1
    kind: Kind
    name: str
    files: list[PackedFile]
    folders: list[str]
    links: list[PackedLink]

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def contents_of(folder: Path, kind: Kind) -> Contents:
    """All that the folder holds now, every file hashed.

    Raises:
        IntegrityError: It holds what is no file, folder, or link that stays inside.
    """
    files, folders, links = [], [], []
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            target = path.readlink().as_posix()
            _require_inside(folder.name, name, target)
            links.append(PackedLink(path=name, target=target))
        elif path.is_dir():
            folders.append(name)
        elif path.is_file():
            status = path.stat()
            files.append(
                PackedFile(path=name, bytes=status.st_size, sha256=file_sha256(path), mtime_ns=status.st_mtime_ns)
            )
        else:
            raise IntegrityError(
                f"{path} is no file, folder or link", consequence="Nothing was packed", remedy="move it elsewhere"
            )
    return Contents(kind=kind, name=folder.name, files=files, folders=folders, links=links)


def pack(folder: Path, target: Path, kind: Kind) -> Contents:
    """Writes the folder to `target`, reads that back and compares; nothing is at `target` before all of it is right.

    One at a time for a target: what a killed one left beside it is removed.

    Raises:
        IntegrityError: The folder changed meanwhile, or what was read back is not what was written.
        DiskSpaceError: Too little space.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.partial-*"):
        leftover.unlink()
    contents = contents_of(folder, kind)
    require_space(target.parent, contents.total_bytes, f"the pack of {folder.name}", target)
    temporary = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        with full_disk_named(target.parent, f"packing {folder}"):
            _write(temporary, folder, contents)
        if (found := check(temporary)) != contents:
            raise IntegrityError(f"The pack of {folder} lists other files than were found ({len(found.files)})")
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    return contents


def check(pack_path: Path) -> Contents:
    """Reads every byte of the pack and compares it with its own list; gives that list.

    Raises:
        ArchiveError: No pack, damaged, or with unsafe names.
        IntegrityError: A file in it is not as it is listed.
    """
    return _read(pack_path, None)


def unpack(pack_path: Path, folder: Path, kind: Kind) -> Contents:
    """Makes `folder` of the pack, whole or not at all; it must not exist.

    What a killed one left beside the pack is removed; one at a time for a pack.

    Raises:
        ArchiveError: No pack, damaged, with unsafe names, or of another folder.
        IntegrityError: A file in it is not as it is listed.
        DiskSpaceError: Too little space.
    """
    for leftover in pack_path.parent.glob(f".{folder.name}.unpacked-*"):
        remove_tree(leftover)
    staging = pack_path.with_name(f".{folder.name}.unpacked-{os.getpid()}")
    try:
        staging.mkdir()
        with full_disk_named(pack_path.parent, f"unpacking {pack_path.name}"):
            contents = _read(pack_path, staging)
        if (contents.kind, contents.name) != (kind, folder.name):
            raise ArchiveError(
                f"{pack_path} holds the {contents.kind} {contents.name!a}",
                expected=f"the {kind} {folder.name}",
                consequence="Nothing was unpacked",
                remedy="give the file its own name back",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(folder)
    finally:
        remove_tree(staging)
    sync_folder(folder.parent)
    return contents


def listed(pack_path: Path) -> Contents:
    """The list at a pack's beginning; the files themselves are not read.

    Raises:
        ArchiveError: No pack, or damaged where the list stands.
    """
    with _members(pack_path) as members:
        return _first(members, pack_path)


def is_as_listed(folder: Path, contents: Contents) -> bool:
    """True where the folder holds exactly what the list names."""
    found = contents_of(folder, contents.kind)
    return (found.files, found.links) == (contents.files, contents.links)


# --- writing


def _walk(folder: Path) -> Iterator[Path]:
    """All in the folder, in a fixed order; links are not followed."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _write(path: Path, folder: Path, contents: Contents) -> None:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with path.open("wb") as raw:
        with (
            compressor.stream_writer(raw, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            text = contents.model_dump_json(indent=1).encode()
            _add(tar, _LIST, len(text), io.BytesIO(text))
            for file in contents.files:
                with (folder / file.path).open("rb") as handle:
                    _add(tar, f"{_FILES}/{file.path}", file.bytes, handle)
        raw.flush()
        os.fsync(raw.fileno())


def _add(tar: tarfile.TarFile, name: str, size: int, handle: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    try:
        tar.addfile(member, handle)
    except OSError as error:
        if error.errno is not None:
            raise
        raise IntegrityError(  # tarfile found fewer bytes than were announced
            f"{name} became shorter while it was packed", consequence="Nothing was packed", remedy="pack it again"
        ) from error


# --- reading


class _Members:
    """The members of an open pack, one after the other."""

    def __init__(self, path: Path) -> None:
        checked_file(path)
        kind = recognise(path)
        if (kind.format, kind.compression) != (ArchiveFormat.TAR, Compression.ZSTD):
            raise ArchiveError(f"{path} is no pack of this workspace", expected="a tar compressed with Zstandard")
        self.budget = Budget(str(path), path.stat().st_size, _LIMITS)
        self._opened = open_members(path, str(path), kind, self.budget)

    def __enter__(self) -> Iterator[Member]:
        return self._opened.__enter__().each

    def __exit__(self, *ended: object) -> None:
        self._opened.__exit__(None, None, None)


def _members(path: Path) -> _Members:
    return _Members(path)


def _first(members: Iterator[Member], path: Path) -> Contents:
    member = next(members, None)
    if member is None or str(member.path) != _LIST or member.chunks is None:
        raise ArchiveError(f"{path} does not begin with {_LIST}", expected="a pack that this project wrote")
    text = bytearray()
    for chunk in member.chunks:
        text += chunk
        if len(text) > _LONGEST_LIST_BYTES:
            raise ArchiveError(f"The list in {path} has more than {_LONGEST_LIST_BYTES} bytes")
    try:
        contents = Contents.model_validate_json(bytes(text))
    except ValueError as error:
        raise ArchiveError(f"The list in {path} cannot be read ({problems(error)})") from error
    _require_safe(contents)
    return contents


def _read(path: Path, into: Path | None) -> Contents:
    """Reads all of it, and writes it into the folder where one is given."""
    opened = _members(path)
    with opened as members:
        contents = _first(members, path)
        if into is not None:
            require_space(into, contents.total_bytes, f"what {path.name} holds", into)
            _make_folders(contents, into)
        waiting = {f"{_FILES}/{file.path}": file for file in contents.files}
        for member in members:
            opened.budget.add_member()
            file = waiting.pop(str(member.path), None)
            if file is None or member.chunks is None:
                raise ArchiveError(f"{path} holds {str(member.path)!a}, which its list does not name, or names once")
            _take(member, file, opened.budget, path, into)
    if waiting:
        missing = next(iter(waiting.values())).path
        raise IntegrityError(f"{path} lacks {len(waiting)} files of its list, such as {missing!a}")
    if into is not None:
        for link in contents.links:
            (into / link.path).symlink_to(link.target)
    return contents


def _make_folders(contents: Contents, into: Path) -> None:
    paths = [*(file.path for file in contents.files), *(link.path for link in contents.links)]
    parents = {str(PurePosixPath(path).parent) for path in paths}
    for name in sorted({*contents.folders, *parents}):
        (into / name).mkdir(parents=True, exist_ok=True)


def _take(member: Member, file: PackedFile, budget: Budget, path: Path, into: Path | None) -> None:
    """Reads one file, writes it where a folder is given, and holds it against the list."""
    hasher, size = hashlib.sha256(), 0
    place = None if into is None else into / file.path
    handle = None if place is None else os.fdopen(os.open(place, _FLAGS, 0o644), "wb")
    try:
        for chunk in member.chunks or ():
            size += len(chunk)
            budget.add_bytes(file.path, size, len(chunk))
            hasher.update(chunk)
            if handle is not None:
                handle.write(chunk)
        if handle is not None:
            handle.flush()
            os.fsync(handle.fileno())
    finally:
        if handle is not None:
            handle.close()
    if (size, hasher.hexdigest()) != (file.bytes, file.sha256):
        raise IntegrityError(
            f"{file.path} in {path} is not as its list says",
            consequence="Nothing was unpacked or removed",
            remedy="take another copy of the pack, if there is one",
        )
    if place is not None:
        os.utime(place, ns=(file.mtime_ns, file.mtime_ns))


def _require_safe(contents: Contents) -> None:
    """Refuses a list whose names or links would lead out of the folder, or upon one another."""
    names = NameRegister()
    if contents.name.startswith(".") or str(safe_path(contents.name, max_depth=1)) != contents.name:
        raise ArchiveError(f"{contents.name!a} is no name for a folder")
    for folder in contents.folders:
        names.add_folder(_plain(folder))
    for path in [*(file.path for file in contents.files), *(link.path for link in contents.links)]:
        names.add_file(_plain(path))
    for link in contents.links:
        _require_inside(contents.name, link.path, link.target)


def _plain(name: str) -> PurePosixPath:
    path = safe_path(name, max_depth=_LIMITS.max_depth)
    if str(path) != name:
        raise ArchiveError(f"{name!a} is no plain path")
    return path


def _require_inside(folder: str, name: str, target: str) -> None:
    """A link may lead to something else in its folder, and nowhere else."""
    reached = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    plain = posixpath.normpath(target) == target  # a `..` behind the name of a link would start from where that leads
    if not plain or posixpath.isabs(target) or reached == ".." or reached.startswith("../") or "\0" in target:
        raise IntegrityError(
            f"The link {name!a} of {folder} leads out of it, to {target!a}",
            consequence="Nothing was packed or unpacked",
            remedy="remove the link",
        )
