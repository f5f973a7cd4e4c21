"""Great Expectations, called in one place: a table and rules go in, verdicts and Data Docs come out."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from glaucoma.datasets.docs_offline import make_offline
from glaucoma.datasets.rules import Rule
from glaucoma.schema import Column

_ONE_AT_A_TIME = threading.Lock()
"""Great Expectations keeps its context in a global of the process."""


@dataclass(frozen=True)
class Verdict:
    """What became of one rule.

    Attributes:
        affected: The image ids (or file paths) that break it; empty for rules on the table as a whole.
        observed: What was seen, for a person.
    """

    rule: Rule
    passed: bool
    affected: tuple[str, ...]
    observed: str


def judge(
    table: pd.DataFrame,
    rules: tuple[Rule, ...],
    docs: Path,
    *,
    what: str = "dataset",
    index: str = Column.IMAGE_ID.value,
) -> list[Verdict]:
    """The verdict on each rule, in the rules' order; the Data Docs (HTML) go into the folder `docs`.

    The first call in a process imports Great Expectations, which takes 5 to 20 seconds. Nothing is sent anywhere, and
    nothing is written but `docs`.

    Args:
        what: The suite's name in the Data Docs.
        index: The column that names a row.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own deprecations, in its imports and its use of pandas
        results = _run(table, rules, docs, what, index)
    make_offline(docs)
    by_name = {result["expectation_config"]["meta"]["rule"]: result for result in results}
    return [_verdict(rule, by_name[rule.name], index) for rule in rules]


def _run(table: pd.DataFrame, rules: tuple[Rule, ...], docs: Path, what: str, index: str) -> list[dict[str, Any]]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            data_docs_sites={what: site},
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
    asset = context.data_sources.add_pandas("checks").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=what, expectations=[_expectation(rule) for rule in rules]))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=what, data=batch, suite=suite))
    checkpoint = gx.Checkpoint(
        name=what,
        validation_definitions=[definition],
        actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=[what])],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [index]},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
    (result,) = outcome.run_results.values()
    return list(result.to_json_dict()["results"])


def _expectation(rule: Rule) -> Any:
    import great_expectations.expectations as gxe

    return getattr(gxe, rule.expectation)(
        **rule.arguments,
        severity=rule.severity.value,
        notes=rule.says,
        meta={"rule": rule.name, "severity": rule.severity.value},
    )


def _verdict(rule: Rule, result: dict[str, Any], index: str) -> Verdict:
    if error := _raised(result.get("exception_info") or {}):
        return Verdict(rule, False, (), f"the check could not be made: {error}")
    found = result.get("result") or {}
    unexpected = found.get("unexpected_index_list") or []
    affected = tuple(sorted({str(one[index]) for one in unexpected}))
    if missing := found.get("partial_missing_list"):
        observed = f"missing: {', '.join(str(value) for value in missing)}"
    elif affected:
        values = sorted({_short(value) for value in found.get("partial_unexpected_list") or []})
        observed = f"{len(affected)} of {found.get('element_count')}, with values such as {', '.join(values[:5])}"
    else:
        observed = "" if result["success"] else f"observed: {found.get('observed_value')}"
    return Verdict(rule, bool(result["success"]), affected, observed)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _raised(info: dict[str, Any]) -> str:
    """The message of an exception inside the library, or empty; it reports one flat, or several by metric."""
    for one in (info, *info.values()):
        if isinstance(one, dict) and one.get("raised_exception"):
            return str(one.get("exception_message"))
    return ""
