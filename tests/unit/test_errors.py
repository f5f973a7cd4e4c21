from __future__ import annotations

import errno
import pickle

import pytest

from glaucoma import errors
from glaucoma.errors import ArcError, ArchiveError, InputError, TransientError, is_retryable

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
