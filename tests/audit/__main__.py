"""The locked packages against the published advisories: `python -m tests.audit [requirements ...]`.

pip-audit itself ends with 0 and "No known vulnerabilities found" where it found no data about a package. Here that is
no pass. Exit codes: 0 all checked and nothing known, 1 something known, 3 nothing known, and not all could be checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LOCKED = ("requirements/lock.txt", "requirements/bootstrap.txt")
CLEAN, KNOWN, UNCHECKED = 0, 1, 3
_TIMEOUT_S = 900
_SHOWN = 10
Run = Callable[[Path], tuple[Any, str]]


def main(arguments: Sequence[str], run: Run | None = None) -> int:
    """Audits each file. What is known of one outweighs what could not be checked of another."""
    files = [Path(one) for one in arguments] or [PROJECT / one for one in LOCKED]
    codes = {audit(file, run or pip_audit) for file in files}
    return next(code for code in (KNOWN, UNCHECKED, CLEAN) if code in codes)


def audit(requirements: Path, run: Run) -> int:
    """Says what is known of the packages in one file."""
    report, said = run(requirements)
    found = report.get("dependencies", []) if isinstance(report, dict) else []
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in found if "skip_reason" in one]
    known = [(one, vulnerability) for one in found for vulnerability in one.get("vulns", [])]
    for one, vulnerability in known:
        fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
        print(f"{one['name']} {one.get('version', '')}: {vulnerability['id']}, mended in {fixed}")
    if not found or skipped:
        print(f"{requirements}: could not be checked ({len(skipped)} of {len(found)} packages without data)")
        for line in skipped[:_SHOWN] or [said]:
            print(f"  {line}")
        print("  Remedy: run it where PyPI's advisories can be reached. Nothing is known about what was not checked.")
    else:
        print(f"{requirements}: {len(found)} packages checked, {len(known)} known vulnerabilities")
    if known:
        return KNOWN
    return UNCHECKED if skipped or not found else CLEAN


def pip_audit(requirements: Path) -> tuple[Any, str]:
    """pip-audit's report, None where it has none, and the last line that it said."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--no-deps"]
        command += ["--format", "json", "--output", str(report), "--progress-spinner", "off", "--timeout", "15"]
        try:
            ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return None, f"pip-audit was not ready after {_TIMEOUT_S} s"
        said = (ended.stderr.strip() or ended.stdout.strip() or f"pip-audit ended with {ended.returncode}").splitlines()
        try:
            return json.loads(report.read_text(encoding="utf-8")), said[-1]
        except (OSError, ValueError):
            return None, said[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
