"""Judge: pairs of photographs that look alike are shown to a person, and what the person says is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.datasets.pair_judgements import record_judgements
from glaucoma.datasets.suspects import Suspect, read_suspects
from tasks.stage import artifact_key, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.pair_judgements import JudgedPair
    from glaucoma.provenance import StageOutput
    from glaucoma.workspace import Workspace

_SHOWN = 20


@stage_task(run_name="judge {name}", timeout_s=600, first_delay_s=5)
def judge(dataset: Path, name: str, workspace: Workspace, pairs: Sequence[JudgedPair], by: str) -> Any:
    """Writes what a person says of pairs of photographs into the file of judgements for datasets of that name."""
    done = record_judgements(dataset, name, workspace, pairs, by=by, at=datetime.now(UTC))
    with shown_if_possible():
        create_table_artifact(
            table=[pair.model_dump(mode="json") for pair in pairs],
            key=artifact_key("judged", name),
            description=f"What {by} said of pairs of photographs in **{name}**, kept in `{done.file}`",
        )
    get_run_logger().info(
        "Kept %d judgements in %s (%d had been said before, %d pairs in all); they count when %s is normalized again",
        done.new,
        done.file,
        done.unchanged,
        done.total,
        name,
    )
    return done


def show_suspects(name: str, output: StageOutput) -> None:
    """A page in Prefect with the pairs to judge, where their pictures are, and the flow's parameters; and warnings."""
    details = output.record.details
    logger = get_run_logger()
    for link in details["linked_across_patients"]:
        logger.warning("%s and %s are of two patients and one group: %s", link["first"], link["second"], link["why"])
    for pair in details["judgements"]["overruled"]:
        logger.warning(
            "%s and %s were judged to differ, and are in one group by way of other photographs",
            pair["first"],
            pair["second"],
        )
    found = details["suspects"]
    if found["page"] is None:
        return
    page = output.folder / found["page"]
    if found["to_judge"]:
        logger.warning("Pairs that look alike and nobody has judged: %d, see %s", found["to_judge"], page)
    with shown_if_possible():
        create_markdown_artifact(
            markdown=_page(name, output, page),
            key=artifact_key("suspects", name),
            description=f"{found['to_judge']} pairs to judge, {found['linked_by_looks']} linked by their looks",
        )


def _page(name: str, output: StageOutput, page: Path) -> str:
    found = output.record.details["suspects"]
    pairs = read_suspects(output.folder)[:_SHOWN]
    # No verdict stands there ready: what is pasted without a look is refused.
    example = [{"first": pair.first, "second": pair.second, "verdict": "same or different?"} for pair in pairs[:2]]
    parameters = json.dumps({"config": {"name": name, "by": "your name", "pairs": example}}, indent=1)
    lines = [
        f"# Pairs that look alike in {name}, version {output.key}",
        "",
        f"- to judge, 17 to 28 of 256 bits apart: **{found['to_judge']}**",
        f"- linked, up to 16 bits apart: **{found['linked_by_looks']}**",
        f"- pictures of {found['shown']}, on the machine that made the dataset: `{page}`",
        f"- all {found['listed']} that were kept, as a table: `{output.folder / found['table']}`",
        "",
        "Parameters for the deployment `judge/judge`; `verdict` is `same` or `different`:",
        "",
        "```json",
        parameters,
        "```",
        "",
        "| first | second | bits | | labels | splits | odd |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(pair) for pair in pairs),
    ]
    return "\n".join(lines) + "\n"


def _row(pair: Suspect) -> str:
    bits = f"{pair.distance_bits}{', mirrored' if pair.mirrored else ''}"
    labels, splits = f"{pair.first_label}, {pair.second_label}", f"{pair.first_split}, {pair.second_split}"
    cells = (pair.first, pair.second, bits, pair.status, labels, splits, ", ".join(pair.notes))
    return f"| {' | '.join(cells)} |"
