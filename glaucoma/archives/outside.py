"""7z and RAR archives: listed and checked first, then unpacked by an outside program through a pipe.

The program writes no file: its output is cut at the listed sizes, held against the listed checksums, and written by the
same code as every other archive's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from glaucoma.archives.child import alone, running
from glaucoma.archives.limits import Budget
from glaucoma.archives.listing import Listed
from glaucoma.archives.members import Member, Members
from glaucoma.archives.names import NameRegister, safe_path
from glaucoma.archives.pipes import Pipe
from glaucoma.archives.programs import Program, find_programs, list_seven_zip, missing_program
from glaucoma.archives.rar_headers import read_rar
from glaucoma.archives.refusals import damaged, unsafe

_PIECE_BYTES = 1 << 20


@contextlib.contextmanager
def open_seven_zip(archive: Path, label: str, budget: Budget) -> Iterator[Members]:
    """The members of a 7z archive; its list is checked before the first of them is unpacked."""
    programs = find_programs()
    if not programs:
        raise missing_program(label, "a 7z")
    with alone(archive, "archive.7z") as path:
        listed = list_seven_zip(path, label, programs[0], budget)
        with _unpacked(path, label, programs[0], listed, budget) as members:
            yield members


@contextlib.contextmanager
def open_rar(archive: Path, label: str, budget: Budget) -> Iterator[Members]:
    """The members of a RAR archive; its own headers are read and checked before a program is started."""
    with archive.open("rb") as raw:
        listed = read_rar(raw, label, max_files=budget.settings.max_files)
    with alone(archive, "archive.rar") as path:
        program = _for_rar(path, label, listed, budget)
        # libarchive cannot tell where an empty file of a RAR ends when it writes bare contents.
        with _unpacked(path, label, program, listed, budget, as_tar=not program.is_seven_zip) as members:
            yield members


def _for_rar(path: Path, label: str, listed: list[Listed], budget: Budget) -> Program:
    """The first program that knows RAR: many builds of 7-Zip come without it, and `bsdtar` checks no checksum."""
    checked_here = all(one.crc is not None or one.is_folder for one in listed)
    told = ""
    for program in find_programs():
        if not (program.is_seven_zip or checked_here):
            continue
        with running(program.test(path.name), path.parent, budget.seconds_left) as child:
            while child.output.read(_PIECE_BYTES):
                pass
            if child.finish() == 0:
                return program
            if not program.is_seven_zip:
                told = f"{program.name} says: {child.told or 'nothing'}"
    if told:
        raise damaged(label, told[:300])
    raise missing_program(label, "a RAR")


@contextlib.contextmanager
def _unpacked(
    path: Path, label: str, program: Program, listed: list[Listed], budget: Budget, *, as_tar: bool = False
) -> Iterator[Members]:
    stated = _check_list(listed, path.stat().st_size, label, budget)
    with running(program.contents(path.name, as_tar=as_tar), path.parent, budget.seconds_left) as child:
        pipe = Pipe(child, program, label, path.stat().st_size, budget)
        files = [one for one in listed if not one.is_folder]
        contents = pipe.out_of_tar() if as_tar else pipe.cut(files)
        yield Members(stated, _members(pipe, listed, contents, budget))


def _check_list(listed: list[Listed], archive_bytes: int, label: str, budget: Budget) -> int:
    """Applies to the list all that is asked of a member, and gives the bytes that it states."""
    names = NameRegister()
    for one in listed:
        path = safe_path(one.name, max_depth=budget.settings.max_depth)
        if one.is_folder:
            if one.size:
                raise unsafe(one.name, f"is a folder that holds {one.size} bytes itself")
            names.add_folder(path)
        else:
            names.add_file(path)
            budget.check_ratio(one.name, archive_bytes if one.packed is None else one.packed, one.size, label)
    return budget.check_stated([(one.name, one.size) for one in listed], label)


def _members(pipe: Pipe, listed: list[Listed], contents: Iterator[Iterator[bytes]], budget: Budget) -> Iterator[Member]:
    total, before = max(1, sum(one.size for one in listed)), 0
    for one in listed:
        path = safe_path(one.name, max_depth=budget.settings.max_depth)
        if one.is_folder:
            yield Member(path, None, before / total)
            continue
        chunks = pipe.checked(next(contents, iter(())), one)
        yield Member(path, chunks, before / total)
        for _ in chunks:  # what the consumer has left must go by, for the next one to begin
            pass
        before += one.size
    pipe.check_end(contents)
