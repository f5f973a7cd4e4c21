"""What all stages share: what is retried, what is not, and what the UI shows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from glaucoma.errors import ArcError, ArchiveError, TransientError
from glaucoma.provenance import Built, StageOutput, run_stage
from glaucoma.settings import Settings
from glaucoma.workspace import Workspace
from tasks import (
    conclude,
    drift,
    evaluate,
    explain,
    normalize,
    plan,
    preprocess,
    register,
    remember,
    train,
    unpack,
    validate,
)
from tasks.stage import StageTask, artifact_key, finished, is_server_away, shown_if_possible, stage_task

ALL = [
    value
    for module in (
        unpack,
        normalize,
        validate,
        drift,
        preprocess,
        register,
        train,
        evaluate,
        explain,
        plan,
        remember,
        conclude,
    )
    for value in vars(module).values()
    if isinstance(value, StageTask)
]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_every_stage_has_retries_with_exponential_backoff_a_timeout_and_a_run_name(task: StageTask) -> None:
    assert task.retries == 3
    delays = task.retry_delay_seconds
    assert isinstance(delays, list)
    assert delays == [delays[0] * 2**n for n in range(3)]
    assert task.timeout_seconds
    assert task.task_run_name
    assert task.retry_condition_fn is not None


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(TransientError("lost"), 4), (httpx.ConnectError("refused"), 4), (ArchiveError("bad"), 1), (KeyError("x"), 1)],
)
def test_only_what_can_pass_is_tried_again(error: Exception, attempts: int) -> None:
    tried: list[int] = []

    @stage_task(run_name="try", timeout_s=60, first_delay_s=0.01)
    def attempt() -> None:
        tried.append(1)
        raise error

    @flow
    def attempts_flow() -> None:
        attempt()

    with pytest.raises(type(error)):
        attempts_flow()
    assert len(tried) == attempts


def unreachable() -> RuntimeError:
    """As Prefect's client says it."""
    error = RuntimeError("Failed to reach API at http://127.0.0.1:4200/api/")
    error.__cause__ = httpx.ConnectError("refused")
    return error


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1:4200/api/artifacts/")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ReadTimeout("slow"), True),
        (httpx.RemoteProtocolError("cut"), True),
        (ConnectionResetError(), True),
        (unreachable(), True),
        (answered(503), True),
        (answered(500), True),
        (answered(429), True),
        (answered(404), False),
        (answered(422), False),
        (RuntimeError("our own mistake"), False),
        (ValueError("wrong"), False),
    ],
    ids=repr,
)
def test_a_server_that_is_away_is_told_from_a_mistake(error: Exception, away: bool) -> None:
    assert is_server_away(error) is away


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), unreachable(), answered(503), answered(404)], ids=repr
)
def test_what_cannot_be_shown_does_not_end_the_work(error: Exception) -> None:
    @stage_task(run_name="show", timeout_s=60)
    def show() -> str:
        with shown_if_possible():
            raise error
        return "done"

    assert flow(lambda: show(), name="showing")() == "done"


def test_a_mistake_in_what_is_shown_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="our own"), shown_if_possible():
        raise RuntimeError("our own mistake")


def shown(tree: ast.AST) -> set[ast.Call]:
    """The calls that make or change an artifact."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return {c for c in calls if c.func.id.startswith(("create_", "update_")) and c.func.id.endswith("_artifact")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted(Path(unpack.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_stage_is_lost_because_the_server_cannot_show_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    guarded: set[ast.Call] = set()
    for block in ast.walk(tree):
        if isinstance(block, ast.With) and "shown_if_possible" in ast.unparse(block.items[0]):
            guarded |= shown(block)
    assert {ast.unparse(call) for call in shown(tree) - guarded} == set()


def test_a_stage_that_recovers_gives_its_value() -> None:
    tried: list[int] = []

    @stage_task(run_name="try", timeout_s=60, first_delay_s=0.01)
    def attempt() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise TransientError("lost")
        return "done"

    @flow
    def recovering() -> Any:
        return attempt()

    assert recovering() == "done"


class CountSettings(Settings):
    suffix: str = ".txt"


def count_files(folder: Path, workspace: Workspace, settings: CountSettings) -> StageOutput:
    """A new stage's science, as docs/how-to/add-a-stage.md has it."""

    def build(staging: Path) -> Built:
        found = sorted(folder.glob(f"*{settings.suffix}"))
        (staging / "names.txt").write_text("\n".join(path.name for path in found))
        return Built(counts={"files": len(found)}, details={})

    return run_stage(
        stage="count",
        workspace=workspace,
        parent=workspace.root / "counts",
        record_name="count.json",
        inputs={"folder": str(folder)},
        settings=settings,
        module="glaucoma.provenance",
        build=build,
    )


def test_a_new_stage_is_one_function_one_task_and_one_line_in_a_flow(tmp_path: Path) -> None:
    @stage_task(run_name="count {folder}", timeout_s=60)
    def count(folder: Path, workspace: Workspace, settings: CountSettings) -> Any:
        output = count_files(folder, workspace, settings)
        return finished(output, f"Counted {output.record.counts['files']} files")

    @flow
    def counting(folder: Path) -> tuple[Any, State[Any]]:
        workspace = Workspace.at(tmp_path / "workspace")
        first = count(folder, workspace, CountSettings())
        return first, count(folder, workspace, CountSettings(), return_state=True)

    (tmp_path / "a.txt").write_text("")
    first, again = counting(tmp_path)
    assert first.record.counts == {"files": 1}
    assert (again.name, again.is_completed()) == ("Cached", True)
    assert again.result().folder == first.folder


def test_an_artifacts_key_is_lower_case_letters_digits_and_dashes() -> None:
    assert artifact_key("train", "cls-lcnet_050-1A2b") == "train-cls-lcnet-050-1a2b"
    assert artifact_key("Über", "../x") == "ber----x"


def test_errors_that_are_raised_on_purpose_keep_their_class_through_a_flow() -> None:
    @stage_task(run_name="fail", timeout_s=60)
    def fail() -> None:
        raise ArchiveError("a.zip is empty", expected="an archive")

    @flow
    def failing() -> None:
        fail()

    with pytest.raises(ArcError, match=r"a.zip is empty. Expected: an archive."):
        failing()
