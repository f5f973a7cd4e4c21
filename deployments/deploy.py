"""The deployments of `prefect.yaml` on a server, in one process and only where something differs.

`prefect deploy --all` brings a server to the same state: it sends everything, every time. Here what is there is read
once and compared, and the flows, which take seconds to import, are imported only where the code is not that of the
server's books: a deployment's version there names the code and the form that was made of it.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import json
from functools import partial
from typing import Any
from uuid import UUID

import prefect
import pydantic
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.utilities.callables import parameter_schema

from deployments.applying import Applying, Outcome
from deployments.declaration import MARK, PROJECT, Deployment, Schedule, deployments_of_project
from deployments.needed import refuse_if_deployment_is_needed
from glaucoma.errors import InputError

_KIND, _SCHEDULE = "deployment", "schedule"
_PAGE = 200
_CODE = ("flows", "tasks", "blocks", "glaucoma")
_HASH_DIGITS = 16
_PULL_STEP = "deployments.steps.stand_in_project"
"""Not the name of a folder: a worker's project may lie elsewhere than the one that was applied."""
_AT_ONCE = 4
"""Requests: more of them only wait for each other in SQLite."""


async def apply_deployments(applying: Applying) -> None:
    """Makes or changes each deployment, and its schedules; a person's own schedules and pauses stay."""
    declared = deployments_of_project()
    found = await _found(applying.client)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(deployment: Deployment) -> None:
        async with slots:
            step = partial(_apply_one, applying, deployment, found.get(deployment.full_name))
            await applying.attempt(_KIND, deployment.full_name, step)

    await asyncio.gather(*(one(deployment) for deployment in declared))
    names = {deployment.full_name for deployment in declared}
    for name, there in found.items():
        if name not in names and MARK in there.tags:
            await applying.remove(_KIND, name, partial(_remove, applying.client, there))


def flow_of(entrypoint: str) -> Flow[..., Any]:
    """The flow at a module path, imported strictly: Prefect would take a placeholder for one that cannot be imported.

    Raises:
        InputError: There is something else, or a flow with another name than the deployment's.
    """
    module, _, attribute = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(found, Flow) or found.name != attribute.replace("_", "-"):
        raise InputError(f"{entrypoint} is {found!r}", expected=f"a flow named {attribute.replace('_', '-')}")
    return found


def settings_of(deployment: Deployment) -> dict[str, Any]:
    """What the server must keep of a deployment, as JSON holds it, but for its form, its version and its schedules."""
    at_once = deployment.at_once
    wanted = {
        "description": deployment.description,
        "entrypoint": deployment.entrypoint,
        "tags": list(deployment.tags),
        "parameters": deployment.parameters,
        "work_pool_name": deployment.work_pool.name,
        "work_queue_name": deployment.work_pool.work_queue_name,
        "job_variables": deployment.work_pool.job_variables,
        "enforce_parameter_schema": True,
        "path": None,
        "pull_steps": [{_PULL_STEP: {}}],
        "concurrency_limit": at_once.limit if at_once else None,
        "concurrency_options": at_once.model_dump(exclude={"limit"}, exclude_none=True) if at_once else None,
    }
    return _plain(wanted)


def form_of(deployment: Deployment) -> dict[str, Any]:
    """The schema from which the server makes the form, and the version; imports the flow."""
    schema = _plain(parameter_schema(flow_of(deployment.entrypoint)).model_dump(exclude_unset=True))
    return {"parameter_openapi_schema": schema, "version": f"{code_hash()}.{_hash(schema)}"}


@functools.cache
def code_hash() -> str:
    """Of all that a form can depend on: the code of the flows and of what they import, and who makes the schema."""
    digest = hashlib.sha256(f"{prefect.__version__} {pydantic.VERSION}".encode())
    for package in _CODE:
        for path in sorted((PROJECT / package).rglob("*.py")):
            digest.update(f"\0{path.relative_to(PROJECT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _hash(schema: dict[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:_HASH_DIGITS]


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


async def _apply_one(applying: Applying, deployment: Deployment, found: DeploymentResponse | None) -> None:
    wanted, name = settings_of(deployment), deployment.full_name
    if found is None:
        wanted |= form_of(deployment)
        await applying.do(_KIND, name, Outcome.MADE, partial(_make, applying.client, deployment, wanted))
        return
    if found.version != f"{code_hash()}.{_hash(found.parameter_openapi_schema)}":
        wanted |= form_of(deployment)
    there = _settings_found(found)
    if differs := [field for field, value in wanted.items() if there[field] != value]:
        step = partial(applying.client.update_deployment, found.id, DeploymentUpdate(**wanted))
        await applying.do(_KIND, name, Outcome.CHANGED, step, ", ".join(differs))
    else:
        applying.say(_KIND, name, Outcome.SAME)
    await _apply_schedules(applying, deployment, found)


async def _make(client: PrefectClient, deployment: Deployment, wanted: dict[str, Any]) -> None:
    options = wanted["concurrency_options"]
    given = {**wanted, "concurrency_options": ConcurrencyOptions(**options) if options else None}
    flow_id = await client.create_flow_from_name(deployment.full_name.partition("/")[0])
    schedules = [_new(schedule) for schedule in deployment.schedules]
    await client.create_deployment(flow_id, deployment.name, schedules=schedules, **given)


def _settings_found(found: DeploymentResponse) -> dict[str, Any]:
    there = found.model_dump(mode="json")
    limit = found.global_concurrency_limit
    options = found.concurrency_options
    return {
        **there,
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": options.model_dump(mode="json", exclude_none=True) if options and limit else None,
    }


async def _apply_schedules(applying: Applying, deployment: Deployment, found: DeploymentResponse) -> None:
    client, by_slug = applying.client, {schedule.slug: schedule for schedule in found.schedules}
    for schedule in deployment.schedules:
        name = f"{deployment.full_name} {schedule.slug}"
        there = by_slug.get(schedule.slug)
        if there is None:
            make = partial(client.create_deployment_schedules, found.id, [_new(schedule)])
            await applying.do(_SCHEDULE, name, Outcome.MADE, make)
        elif (there.schedule, there.parameters) != (schedule.timing(), schedule.parameters):
            await applying.do(_SCHEDULE, name, Outcome.CHANGED, partial(_change, client, found.id, there, schedule))
    slugs = {schedule.slug for schedule in deployment.schedules}
    for there in found.schedules:
        if there.slug and there.slug not in slugs:  # those that a person made in the pages have none
            step = partial(client.delete_deployment_schedule, found.id, there.id)
            await applying.remove(_SCHEDULE, f"{deployment.full_name} {there.slug}", step)


def _new(schedule: Schedule) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=schedule.timing(), active=schedule.active, parameters=schedule.parameters, slug=schedule.slug
    )


async def _change(client: PrefectClient, deployment: UUID, there: DeploymentSchedule, schedule: Schedule) -> None:
    """Its times and parameters; whether it is active stays as it is."""
    await client.update_deployment_schedule(
        deployment, there.id, schedule=schedule.timing(), parameters=schedule.parameters
    )


async def _found(client: PrefectClient) -> dict[str, DeploymentResponse]:
    """Every deployment on the server, by `flow/deployment`."""
    flows: dict[UUID, str] = {}
    while page := await client.read_flows(limit=_PAGE, offset=len(flows)):
        flows |= {flow.id: flow.name for flow in page}
    found: list[DeploymentResponse] = []
    while there := await client.read_deployments(limit=_PAGE, offset=len(found)):
        found += there
    return {f"{flows[one.flow_id]}/{one.name}": one for one in found if one.flow_id in flows}


async def _remove(client: PrefectClient, there: DeploymentResponse) -> None:
    await refuse_if_deployment_is_needed(client, there.id)
    await client.delete_deployment(there.id)
