from __future__ import annotations

import errno
import pickle

import pytest
from pydantic import ValidationError

from glaucoma import errors
from glaucoma.errors import (
    ArcError,
    ArchiveError,
    DiskSpaceError,
    InputError,
    IntegrityError,
    TrainingError,
    TransientError,
    is_outside_cause,
    is_retryable,
    problems,
    shown_bytes,
)
from glaucoma.settings import Settings

ALL = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, ArcError)]


def test_a_message_says_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = ArchiveError(
        "a.zip is empty", expected="an archive", consequence="Nothing was written", remedy="copy it again"
    )
    assert str(error) == "a.zip is empty. Expected: an archive. Nothing was written. Remedy: copy it again."


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling(kind: type[ArcError]) -> None:
    error = kind("found", expected="expected", remedy="remedy")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.found == "found"


@pytest.mark.parametrize("kind", ALL)
def test_bad_input_is_exit_code_2_and_never_retried(kind: type[ArcError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 1)
    assert kind.retryable == (kind is TransientError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientError("lost"), True),
        (InputError("bad"), False),
        (TimeoutError(), True),
        (OSError(errno.EIO, "i/o"), True),
        (ConnectionResetError(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (ValueError("wrong"), False),
    ],
)
def test_only_what_can_pass_is_tried_again(error: Exception, expected: bool) -> None:
    assert is_retryable(error) is expected


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"), (1, "1 bytes"), (999, "999 bytes"), (1000, "1 kB"), (4567, "4.57 kB"), (999_499, "999 kB"),
        (999_600, "1 MB"), (45_000_000, "45 MB"), (730_400_000, "730 MB"), (12_345_678_901, "12.3 GB"),
        (2.5e12, "2.5 TB"), (2.5e15, "2500 TB"),
    ],
)  # fmt: skip
def test_a_size_has_three_digits_and_never_reads_as_nothing(count: float, shown: str) -> None:
    assert shown_bytes(count) == shown


class Many(Settings):
    a: int
    b: int
    c: int
    d: int
    e: int


def test_of_many_problems_the_first_three_are_told_in_one_line() -> None:
    with pytest.raises(ValidationError) as raised:
        Many.model_validate({"a": "x" * 5000, "unknown": {"deep": ["y" * 5000]}})
    told = problems(raised.value)
    assert told.startswith(
        "a: Input should be a valid integer, unable to parse string as an integer; b: Field required"
    )
    assert told.endswith(" and 3 more")
    assert "\n" not in told
    assert len(told) < 300


def test_another_error_is_told_in_one_short_line() -> None:
    assert problems(ValueError("first\n  second")) == "first second"
    assert problems(KeyError()) == "KeyError"
    assert len(problems(ValueError("x" * 5000))) < 250


@pytest.mark.parametrize(
    ("error", "outside"),
    [
        (TransientError("lost"), True),
        (DiskSpaceError("full"), True),
        (IntegrityError("damaged"), True),
        (OSError(errno.ENOSPC, "full"), True),
        (TrainingError("diverged"), False),
        (InputError("wrong"), False),
        (RuntimeError("a mistake"), False),
    ],
)
def test_what_lies_outside_the_work_is_told_from_what_the_work_itself_did(error: Exception, outside: bool) -> None:
    assert is_outside_cause(error) is outside
