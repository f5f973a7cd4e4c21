"""Registered versions: into DVC and the registry, back from the remote, checked, listed, described."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from glaucoma.errors import shown_bytes
from tasks.stage import ProgressArtifact, artifact_key, found_again, shown_if_possible, stage_task

if TYPE_CHECKING:
    from glaucoma.datasets.integrity import Check, CheckPlace
    from glaucoma.datasets.registry import RegisterSettings
    from glaucoma.datasets.remote import Remote
    from glaucoma.datasets.versions import DatasetInfo, Version
    from glaucoma.workspace import Workspace

_READING_S = 600


@stage_task(run_name="register {name}", timeout_s=4 * 3600)
def register(
    dataset: Path,
    prepared: Path | None,
    name: str,
    workspace: Workspace,
    settings: RegisterSettings,
    remote: Remote | None = None,
) -> Any:
    """Adds the dataset and what was prepared from it to DVC, pushes, and writes `data_registry.yaml`."""
    from glaucoma.datasets.registering import register as register_dataset

    progress = ProgressArtifact(artifact_key("register", name), f"Registering {name}")
    entry = register_dataset(dataset, prepared, name, workspace, settings, remote=remote, report=progress)
    with shown_if_possible():
        create_table_artifact(
            table=[entry.model_dump(mode="json")],
            key=artifact_key("registered", name),
            description=f"**{name}** version `{entry.version}` in the registry",
        )
    if entry.reused:
        return found_again(entry, f"{name} version {entry.version} was registered already")
    get_run_logger().info("Registered %s version %s: %d files", name, entry.version, entry.files)
    return entry


@stage_task(run_name="restore {name}", timeout_s=4 * 3600)
def restore(name: str, version: str | None, workspace: Workspace, remote: Remote | None, replace_damaged: bool) -> Any:
    """Brings a registered version's missing folders back from the remote, every byte checked."""
    from glaucoma.datasets.restoring import restore_registration

    progress = ProgressArtifact(artifact_key("restore", name), f"Restoring {name}")
    done = restore_registration(
        name, version, workspace, remote=remote, replace_damaged=replace_damaged, report=progress
    )
    if not done.restored:
        return found_again(done, f"{name} version {done.entry.version} is in the workspace already")
    get_run_logger().info("Restored %s", ", ".join(str(folder) for folder in done.restored))
    return done


@stage_task(run_name="check {name}", timeout_s=8 * 3600)
def check_dataset(
    name: str, version: str | None, workspace: Workspace, place: CheckPlace, remote: Remote | None
) -> Any:
    """Reads every registered byte again; one that differs is an error that names its file."""
    from glaucoma.datasets.integrity import check_registration, require_sound

    progress = ProgressArtifact(artifact_key("check", name), f"Checking {name}")
    found = check_registration(name, version, workspace, place, remote=remote, report=progress)
    with shown_if_possible():
        create_table_artifact(
            table=_differences(found),
            key=artifact_key("integrity", name),
            description=f"**{name}** version `{found.version}`: {found.files} files read, "
            f"{'all as registered' if found.sound else 'not all as registered'}",
        )
    require_sound(found)
    get_run_logger().info("%s version %s: %d files are as registered", name, found.version, found.files)
    return found


@stage_task(run_name="list datasets", timeout_s=_READING_S)
def list_datasets(workspace: Workspace) -> Any:
    """Every registered version."""
    from glaucoma.datasets.versions import list_versions

    versions: list[Version] = list_versions(workspace)
    with shown_if_possible():
        create_table_artifact(
            table=[version.model_dump(mode="json") for version in versions],
            key="datasets",
            description=f"{len(versions)} registered versions in {workspace.registry}",
        )
    return versions


@stage_task(run_name="describe {name}", timeout_s=_READING_S)
def dataset_info(name: str, version: str | None, workspace: Workspace) -> Any:
    """All that is known of one registered version."""
    from glaucoma.datasets.versions import describe

    info: DatasetInfo = describe(name, version, workspace)
    with shown_if_possible():
        create_markdown_artifact(
            markdown=_page(info),
            key=artifact_key("dataset-info", name),
            description=f"{name} version {info.entry.version}",
        )
    return info


def _differences(found: Check) -> list[dict[str, Any]]:
    """A row per file that differs; one row that says so where none does."""
    rows = [
        {"where": where, "difference": what, "file": path}
        for where, differences in (("workspace", found.workspace), ("remote", found.remote))
        if differences is not None
        for what, paths in (
            ("changed", differences.changed),
            ("missing", differences.missing),
            ("not registered", differences.extra),
        )
        for path in paths
    ]
    return rows or [{"where": " and ".join(found.checked), "difference": "none", "file": ""}]


def _page(info: DatasetInfo) -> str:
    """The version as a page: identity, places, lineage, validations."""
    entry = info.entry
    lines = [
        f"# {entry.name} `{entry.version}`",
        f"{entry.files} files, {shown_bytes(entry.bytes)}, registered {entry.registered_at:%Y-%m-%d %H:%M} UTC",
        f"Remote: `{entry.remote}`" if entry.remote else "Not pushed: in DVC's cache only",
        "| folder | there | files | SHA-256 of its list of sums |\n| --- | --- | --- | --- |",
    ]
    lines[-1] += "".join(
        f"\n| `{place.folder}` | {'yes' if place.present else 'no'} | {place.files} | `{place.sums_sha256}` |"
        for place in info.places
    )
    made = "\n".join(
        f"- {step.stage} `{step.key}`: " + ", ".join(f"{value} {what}" for what, value in step.counts.items())
        for step in info.lineage
    )
    judged = "\n".join(
        f"- `{one.key}`: {'passed' if one.passed else 'failed'}, {one.critical} critical, {one.warnings} warnings"
        for one in info.validations
    )
    return (
        "\n\n".join([*lines, "## Made by", made or "No records here", "## Validations", judged or "None here"]) + "\n"
    )
