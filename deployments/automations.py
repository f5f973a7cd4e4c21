"""Automations on a server: made from `declared/automations.yaml`, changed in place by name, never doubled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound

from deployments.applying import Applying, Outcome
from deployments.declaration import MARK, NOTIFICATION, declared_automations
from glaucoma.errors import NotFoundError

_KIND = "automation"
_PAGE = 200
_ACTIONS = ("actions", "actions_on_trigger", "actions_on_resolve")
_NOBODY = f"nobody is told: no block {NOTIFICATION}"


async def apply_automations(applying: Applying) -> None:
    """Makes or changes each automation; one that a person switched off stays off."""
    declared = declared_automations()
    found = await automations_of(applying.client)
    told = await notification_block(applying.client) is not None
    for name in sorted(declared, key=lambda one: "automation:" in str(declared[one])):
        await applying.attempt(
            _KIND, name, partial(_apply_one, applying, name, declared[name], found.get(name, []), told)
        )
    for name, there in found.items():
        for one in there if name not in declared else []:
            await applying.remove(_KIND, name, partial(_delete, applying.client, one))


async def automations_of(client: PrefectClient) -> dict[str, list[Automation]]:
    """The automations that bear our mark, by name; of doubles the one that stays comes first."""
    found: dict[str, list[Automation]] = {}
    read = 0
    while page := await client.read_automations(limit=_PAGE, offset=read):
        read += len(page)
        for one in page:
            if MARK in one.tags:
                found.setdefault(one.name, []).append(one)
    return {name: sorted(there, key=lambda one: str(one.id)) for name, there in found.items()}


async def notification_block(client: PrefectClient) -> BlockDocument | None:
    """The block by which people are told, whatever its type; None where nobody made one."""
    wanted = {
        "block_documents": {"name": {"any_": [NOTIFICATION]}, "is_anonymous": {"eq_": False}},
        "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
        "include_secrets": False,
    }
    response = await client.request("POST", "/block_documents/filter", json=wanted)
    found = BlockDocument.model_validate_list(response.json())
    return min(found, key=lambda document: str(document.id), default=None)


async def _apply_one(
    applying: Applying, name: str, declared: dict[str, Any], there: list[Automation], told: bool
) -> None:
    client = applying.client
    silent = "" if told or f"'{NOTIFICATION}'" not in str(declared) else _NOBODY
    wanted = await resolved(client, name, declared)
    if not there:
        await applying.do(_KIND, name, Outcome.MADE, partial(client.create_automation, wanted), silent)
    elif _content(there[0]) == _content(wanted):
        applying.say(_KIND, name, Outcome.SAME, silent)
    else:
        change = wanted.model_copy(update={"enabled": there[0].enabled})
        change.__pydantic_fields_set__.add("enabled")
        await applying.do(_KIND, name, Outcome.CHANGED, partial(client.update_automation, there[0].id, change), silent)
    if not applying.dry_run:
        await _remove_doubles(applying, name)


async def resolved(client: PrefectClient, name: str, declared: dict[str, Any]) -> AutomationCore:
    """The automation as the server takes it: ids in place of names, and no action that would tell nobody."""
    actions: dict[str, list[dict[str, Any]]] = {}
    for place in _ACTIONS:
        with_ids = [await _with_ids(client, action) for action in declared.get(place, [])]
        actions[place] = [action for action in with_ids if action is not None]
    actions["actions"] = actions["actions"] or [{"type": "do-nothing"}]
    return AutomationCore.model_validate({**declared, **actions, "name": name, "tags": [MARK]})


async def _with_ids(client: PrefectClient, action: dict[str, Any]) -> dict[str, Any] | None:
    """An action with the ids of what it names; None where it would tell by a block that nobody made."""
    found = dict(action)
    for key, (field, look) in _NAMED.items():
        if key not in found:
            continue
        identity = await look(client, found.pop(key))
        if identity is None:
            return None
        found[field] = identity
        if key != "block":
            found.setdefault("source", "selected")
    return found


async def _deployment(client: PrefectClient, name: str) -> str:
    return await _id(client.read_deployment_by_name(name), f"deployment {name}")


async def _pool(client: PrefectClient, name: str) -> str:
    return await _id(client.read_work_pool(name), f"work pool {name}")


async def _queue(client: PrefectClient, name: str) -> str:
    pool, _, queue = name.partition("/")
    return await _id(client.read_work_queue_by_name(queue, pool), f"work queue {name}")


async def _automation(client: PrefectClient, name: str) -> str:
    there = (await automations_of(client)).get(name)
    if not there:
        raise NotFoundError(f"The server has no automation {name}", remedy="declare it")
    return str(there[0].id)


async def _block(client: PrefectClient, name: str) -> str | None:
    if name != NOTIFICATION:
        raise NotFoundError(f"An action names the block {name}", expected=NOTIFICATION)
    document = await notification_block(client)
    return str(document.id) if document else None


_NAMED: dict[str, tuple[str, Callable[[PrefectClient, str], Awaitable[str | None]]]] = {
    "deployment": ("deployment_id", _deployment),
    "work_pool": ("work_pool_id", _pool),
    "work_queue": ("work_queue_id", _queue),
    "automation": ("automation_id", _automation),
    "block": ("block_document_id", _block),
}


async def _id(read: Awaitable[Any], what: str) -> str:
    try:
        return str((await read).id)
    except ObjectNotFound as error:
        raise NotFoundError(f"The server has no {what}", remedy="declare it, or mend the automation") from error


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What two automations must share to be the same: all but who they are and whether they are switched on."""
    fields = set(AutomationCore.model_fields) - {"enabled", "owner_resource"}
    return automation.model_dump(include=fields)


async def _remove_doubles(applying: Applying, name: str) -> None:
    """Names are not unique on a server: two applications at once, each finding none, make one each.

    Whoever comes last sees both, and all agree which one stays.
    """
    there = (await automations_of(applying.client)).get(name, [])
    for double in there[1:]:
        await _delete(applying.client, double)
        applying.say(_KIND, name, Outcome.REMOVED, "a double")


async def _delete(client: PrefectClient, automation: Automation) -> None:
    try:
        await client.delete_automation(automation.id)
    except ObjectNotFound:
        return  # another application removed it in the same moment
