from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import cases
from tests.fuzz.cases import BrokenError, run_case
from tests.fuzz.supervise import supervise
from tests.fuzz.worker import STATUS


@pytest.mark.parametrize(("kind", "count"), [("archives", 600), ("images", 400)])
def test_every_hostile_input_ends_in_an_output_or_a_clear_error(kind: str, count: int) -> None:
    outcome = supervise(kind, seed=1, cases=count, workers=2, case_s=20)
    assert outcome.failures == []
    assert outcome.done == count
    assert 0 < outcome.taken < count


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    inputs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        run_case("images", 3, 7, tmp_path / name)
        inputs.append([path.read_bytes() for path in (tmp_path / name).iterdir()])
    assert inputs[0] == inputs[1]


def test_what_is_left_outside_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cases.unpack

    def leaks(path: Path, *arguments: object) -> object:
        (path.parent / "outside" / "evil").write_bytes(b"1")
        return real(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cases, "unpack", leaks)
    with pytest.raises(BrokenError, match="outside"):
        run_case("archives", 1, 1, tmp_path)


def test_a_process_that_dies_is_a_failure_of_its_case_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.supervise.sys.executable", "/bin/false")
    outcome = supervise("images", seed=1, cases=3, workers=1, case_s=20)
    assert [failure["error"] for failure in outcome.failures] == ["the process died with 1"] * 3
    assert outcome.done == 3
    assert STATUS.size == 24
