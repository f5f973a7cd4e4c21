"""Prefect variables and global concurrency limits on a server."""

from __future__ import annotations

from functools import partial

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    VariableCreate,
)
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

from deployments.applying import Applying, Outcome
from deployments.declaration import MARK, OUR_POOLS, Limit, declared_limits, declared_variables

_VARIABLE, _LIMIT = "variable", "limit"
_PAGE = 200


async def apply_variables(applying: Applying) -> None:
    """Makes each variable that is missing; the value of one that is there is a person's."""
    declared, client = declared_variables(), applying.client
    found = {one.name: one for one in await client.read_variables(limit=_PAGE)}
    for name, value in declared.items():
        if name in found:
            kept = "" if found[name].value == value else f"a person set {found[name].value!r}, which stays"
            applying.say(_VARIABLE, name, Outcome.SAME, kept)
            continue
        make = partial(client.create_variable, VariableCreate(name=name, value=value, tags=[MARK]))
        await applying.attempt(_VARIABLE, name, partial(applying.make, _VARIABLE, name, make, f"{value!r}"))
    for name, there in found.items():
        if MARK in there.tags and name not in declared:
            await applying.remove(_VARIABLE, name, partial(client.delete_variable_by_name, name))


async def apply_limits(applying: Applying) -> None:
    """Makes or changes each limit; one that a person switched off stays off."""
    declared = declared_limits()
    found = {one.name: one for one in await _limits(applying.client)}
    for name, limit in declared.items():
        await applying.attempt(_LIMIT, name, partial(_apply_limit, applying, name, limit, found.get(name)))
    for name in found:
        if name.startswith(OUR_POOLS) and name not in declared:
            step = partial(applying.client.delete_global_concurrency_limit_by_name, name)
            await applying.remove(_LIMIT, name, step)


async def _apply_limit(
    applying: Applying, name: str, limit: Limit, found: GlobalConcurrencyLimitResponse | None
) -> None:
    client, wanted = applying.client, limit.model_dump()
    if found is None:
        make = partial(client.create_global_concurrency_limit, GlobalConcurrencyLimitCreate(name=name, **wanted))
        await applying.make(_LIMIT, name, make)
    elif all(getattr(found, field) == value for field, value in wanted.items()):
        applying.say(_LIMIT, name, Outcome.SAME)
    else:
        change = partial(client.update_global_concurrency_limit, name, GlobalConcurrencyLimitUpdate(**wanted))
        await applying.do(_LIMIT, name, Outcome.CHANGED, change)


async def _limits(client: PrefectClient) -> list[GlobalConcurrencyLimitResponse]:
    found: list[GlobalConcurrencyLimitResponse] = []
    while page := await client.read_global_concurrency_limits(limit=_PAGE, offset=len(found)):
        found += page
    return found
