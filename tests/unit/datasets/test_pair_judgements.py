from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from glaucoma.datasets.manifest import read_manifest
from glaucoma.datasets.pair_judgements import (
    JudgedPair,
    Sameness,
    judged_different,
    judgements_sha256,
    read_judgements,
    record_judgements,
    write_judged,
)
from glaucoma.errors import DatasetError, NotFoundError, SettingsError
from glaucoma.provenance import StageOutput
from glaucoma.workspace import Workspace

SAME, DIFFERENT = Sameness.SAME, Sameness.DIFFERENT
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Photo = Callable[..., bytes]


@pytest.fixture
def dataset(normalized: Callable[..., StageOutput], photo: Photo) -> Path:
    """Six normal and six glaucoma photographs; `normal-0` and `glaucoma-0` are one."""
    files = {
        f"{label}/{n}.png": photo(100 * place + n)
        for place, label in enumerate(["normal", "glaucoma"])
        for n in range(6)
    }
    return normalized(files | {"glaucoma/0.png": files["normal/0.png"]}).folder


@pytest.fixture
def say(dataset: Path, workspace: Workspace) -> Callable[..., object]:
    def record(*pairs: tuple[str, str, Sameness], at: datetime = NOON, by: str = "A. Reader") -> object:
        judged = [JudgedPair(first=first, second=second, verdict=verdict) for first, second, verdict in pairs]
        return record_judgements(dataset, "trial", workspace, judged, by=by, at=at)

    return record


def pixels(dataset: Path) -> dict[str, str]:
    table = read_manifest(dataset)
    return dict(zip(table["image_id"], table["pixel_sha256"], strict=True))


def test_what_a_person_says_is_kept_by_pixels_and_read_again(
    say: Callable[..., object], dataset: Path, workspace: Workspace
) -> None:
    done = say(("normal-1", "normal-2", SAME), ("normal-3", "glaucoma-4", DIFFERENT))
    assert (done.new, done.unchanged, done.total) == (2, 0, 2)
    of = pixels(dataset)
    assert read_judgements(workspace, ["trial"]) == {
        tuple(sorted([of["normal-1"], of["normal-2"]])): SAME,
        tuple(sorted([of["normal-3"], of["glaucoma-4"]])): DIFFERENT,
    }
    entry = yaml.safe_load(done.file.read_text())[0]
    assert (entry["by"], entry["dataset"], entry["at"]) == ("A. Reader", dataset.name, "2026-01-01T12:00:00Z")
    assert {entry["first_id"], entry["second_id"]} == {"normal-1", "normal-2"}


def test_the_last_entry_counts_although_its_machine_s_clock_was_slow(
    say: Callable[..., object], workspace: Workspace
) -> None:
    say(("normal-1", "normal-2", SAME))
    say(("normal-1", "normal-2", DIFFERENT), at=NOON - timedelta(hours=1))
    assert list(read_judgements(workspace, ["trial"]).values()) == [DIFFERENT]


def test_the_same_again_writes_nothing_and_a_new_word_counts_with_the_old_one_kept(
    say: Callable[..., object], workspace: Workspace
) -> None:
    first = say(("normal-1", "normal-2", SAME))
    before = first.file.read_bytes()
    again = say(("normal-2", "normal-1", SAME), at=NOON + timedelta(days=1), by="somebody else")
    assert (again.new, again.unchanged, first.file.read_bytes()) == (0, 1, before)
    say(("normal-1", "normal-2", DIFFERENT), at=NOON + timedelta(days=2))
    assert list(read_judgements(workspace, ["trial"]).values()) == [DIFFERENT]
    assert [one["verdict"] for one in yaml.safe_load(first.file.read_text())] == ["same", "different"]


def test_of_several_files_the_latest_word_counts(
    say: Callable[..., object], dataset: Path, workspace: Workspace
) -> None:
    say(("normal-1", "normal-2", SAME), at=NOON + timedelta(days=1))
    other = [JudgedPair(first="normal-1", second="normal-2", verdict=DIFFERENT)]
    record_judgements(dataset, "merged", workspace, other, by="B", at=NOON)
    assert set(read_judgements(workspace, ["merged", "trial"]).values()) == {SAME}
    assert set(read_judgements(workspace, ["trial", "merged", "nobody"]).values()) == {SAME}
    assert set(read_judgements(workspace, ["merged"]).values()) == {DIFFERENT}


def test_the_hash_of_what_was_said_does_not_change_with_who_said_it(
    say: Callable[..., object], dataset: Path, workspace: Workspace
) -> None:
    say(("normal-1", "normal-2", SAME), ("normal-1", "normal-3", SAME))
    one = judgements_sha256(read_judgements(workspace, ["trial"]))
    pairs = [JudgedPair(first="normal-3", second="normal-1", verdict=SAME)]
    pairs += [JudgedPair(first="normal-2", second="normal-1", verdict=SAME)]
    record_judgements(dataset, "other", workspace, pairs, by="B", at=NOON + timedelta(days=9))
    assert judgements_sha256(read_judgements(workspace, ["other"])) == one
    say(("normal-1", "normal-3", DIFFERENT))
    assert judgements_sha256(read_judgements(workspace, ["trial"])) != one


def test_photographs_that_are_not_there_are_named_with_the_nearest(
    say: Callable[..., object], workspace: Workspace
) -> None:
    with pytest.raises(NotFoundError, match=r"2 of the photographs.*normal-11 \(near: normal-1.*; zzz"):
        say(("normal-11", "normal-2", SAME), ("zzz", "normal-1", SAME))
    assert not workspace.judgements("trial").exists()


def test_two_verdicts_on_one_pair_and_different_for_the_same_pixels_are_refused(
    say: Callable[..., object], workspace: Workspace
) -> None:
    with pytest.raises(SettingsError, match="both the same and different"):
        say(("normal-1", "normal-2", SAME), ("normal-2", "normal-1", DIFFERENT))
    with pytest.raises(SettingsError, match="normal-0 and glaucoma-0 have the same pixels"):
        say(("normal-0", "glaucoma-0", DIFFERENT))
    with pytest.raises(ValidationError, match="a pair is two photographs"):
        JudgedPair(first="a", second="a", verdict=SAME)
    assert not workspace.judgements("trial").exists()


ENTRY = {
    "first": "a" * 64,
    "second": "b" * 64,
    "verdict": "same",
    "by": "A",
    "at": "2026-01-01T00:00:00Z",
    "dataset": "k",
    "first_id": "x",
    "second_id": "y",
}


@pytest.mark.parametrize(
    "content",
    [
        "just text",
        "a: mapping",
        "- {first: 1}",
        yaml.safe_dump([{**ENTRY, "verdict": "maybe"}]),
        yaml.safe_dump([{**ENTRY, "first": "c" * 64}]),
        yaml.safe_dump([{**ENTRY, "more": 1}]),
        yaml.safe_dump([{**ENTRY, "first_id": "../../etc"}]),
        "- &a [x]\n- *a\n",
        "a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        "!!python/object/apply:os.system ['true']",
        "[" * 1500,
        "\x00",
        "- [unclosed",
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_file_that_is_none_of_judgements_is_refused_and_stays(
    content: str, say: Callable[..., object], workspace: Workspace
) -> None:
    path = workspace.judgements("trial")
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1", "ignore"))
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="is no file of judgements"):
        read_judgements(workspace, ["trial"])
    with pytest.raises(DatasetError):
        say(("normal-1", "normal-2", SAME))
    assert path.read_bytes() == before


def test_a_file_larger_than_any_of_judgements_is_not_read(workspace: Workspace) -> None:
    path = workspace.judgements("trial")
    path.parent.mkdir()
    with path.open("wb") as handle:
        handle.truncate(40_000_000)
    with pytest.raises(DatasetError, match="larger than 32 MB"):
        read_judgements(workspace, ["trial"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_judgements_or_a_clear_error(content: bytes, workspace: Workspace) -> None:
    path = workspace.judgements("trial")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        assert read_judgements(workspace, ["trial"]) == {}
    except DatasetError:
        assert content.strip()


def test_an_empty_file_and_no_file_say_nothing(workspace: Workspace) -> None:
    assert read_judgements(workspace, ["trial"]) == {}
    workspace.judgements("trial").parent.mkdir()
    workspace.judgements("trial").write_text("# nothing yet\n")
    assert read_judgements(workspace, ["trial"]) == {}


def test_the_pairs_that_differ_are_read_back_from_a_dataset(tmp_path: Path) -> None:
    assert judged_different(tmp_path) == frozenset()
    write_judged(tmp_path, [("a", "b", DIFFERENT), ("a", "c", SAME), ("null", "1e5", DIFFERENT)])
    assert judged_different(tmp_path) == {("a", "b"), ("1e5", "null")}


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from glaucoma.datasets.pair_judgements import JudgedPair, record_judgements
from glaucoma.workspace import Workspace
root, dataset, label = sys.argv[1:]
for n in range(1, 5):
    pairs = [JudgedPair(first=f"{label}-{n}", second=f"{label}-{n + 1}", verdict="same")]
    record_judgements(Path(dataset), "trial", Workspace.at(root), pairs, by=label, at=datetime.now(UTC))
    print(n, flush=True)
"""


def test_two_people_at_once_lose_nothing_and_a_killed_one_leaves_a_whole_file(
    dataset: Path, workspace: Workspace
) -> None:
    def start(label: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", _WRITER, str(workspace.root), str(dataset), label]
        return subprocess.Popen(
            arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    with start("normal") as one, start("glaucoma") as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.stdout.readline()
        other.send_signal(signal.SIGKILL)
        assert one.wait(60) == 0
    said = read_judgements(workspace, ["trial"])
    assert 4 + 2 <= len(said) <= 4 + 4
