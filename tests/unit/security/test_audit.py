"""What the audit of the locked packages says where there is little to go by."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "audit" / "__main__.py"))
SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        ({"dependencies": [SOUND]}, 0, "1 packages checked, 0 known"),
        ({"dependencies": [SOUND, BAD]}, 1, "pillow 1.0: PYSEC-1, mended in 2.0"),
        ({"dependencies": [SOUND, UNKNOWN]}, 3, "could not be checked (1 of 2 packages without data)"),
        ({"dependencies": [BAD, UNKNOWN]}, 1, "PYSEC-1"),
        ({"dependencies": []}, 3, "could not be checked"),
        (None, 3, "Failed to resolve"),
    ],
)
def test_what_could_not_be_checked_never_passes(
    report: Any, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert AUDIT["main"](["lock.txt"], lambda _: (report, "Failed to resolve 'api.osv.dev'")) == code
    assert said in capsys.readouterr().out


def test_what_is_known_of_one_file_outweighs_what_could_not_be_checked_of_another() -> None:
    reports = {"a": {"dependencies": [SOUND]}, "b": None, "c": {"dependencies": [BAD]}}

    def run(path: Path) -> tuple[Any, str]:
        return reports[path.name], ""

    assert AUDIT["main"](["a", "b"], run) == 3
    assert AUDIT["main"](["a", "b", "c"], run) == 1
