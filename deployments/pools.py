"""Work pools and their queues on a server: made, changed, put in order."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool, WorkQueue, WorkQueueStatus

from deployments.applying import Applying, Outcome
from deployments.declaration import DEFAULT_QUEUE, OUR_POOLS, Pool, declared_pools, job_template
from deployments.needed import refuse_if_pool_is_needed
from flows.queues import parse_queue
from glaucoma.errors import InputError

_POOL, _QUEUE = "work pool", "work queue"
_PAGE = 200


async def apply_pools(applying: Applying) -> None:
    """Brings every pool, and its queues in their order, to the declared state."""
    pools = declared_pools()
    found = {pool.name: pool for pool in await applying.client.read_work_pools(limit=_PAGE)}
    for name, pool in pools.items():
        await applying.attempt(_POOL, name, partial(_apply_pool, applying, name, pool, found.get(name)))
        if name in found or not applying.dry_run:
            await applying.attempt(_QUEUE, name, partial(_apply_queues, applying, name, pool))
    for name in found:
        if name.startswith(OUR_POOLS) and name not in pools:
            await applying.remove(_POOL, name, partial(_remove_pool, applying.client, name))


async def _apply_pool(applying: Applying, name: str, pool: Pool, found: WorkPool | None) -> None:
    client, template = applying.client, job_template()
    if found is None:
        new = WorkPoolCreate(name=name, base_job_template=template, **pool.model_dump())
        await applying.do(_POOL, name, Outcome.MADE, partial(client.create_work_pool, new, overwrite=True))
        return
    if found.type != pool.type:
        raise InputError(
            f"its type is {found.type}", expected=pool.type, remedy="delete it on the server, and apply again"
        )
    wanted = {**pool.model_dump(exclude={"type"}), "base_job_template": template}
    differs = [field for field, value in wanted.items() if getattr(found, field) != value]
    if not differs:
        applying.say(_POOL, name, Outcome.SAME)
        return
    update = partial(client.update_work_pool, name, WorkPoolUpdate(**wanted))
    await applying.do(_POOL, name, Outcome.CHANGED, update, ", ".join(differs))


async def _apply_queues(applying: Applying, pool_name: str, pool: Pool) -> None:
    """Makes what is missing in the place where it belongs, then mends the order.

    Prefect keeps the priorities of a pool unique: a queue that comes in at a place moves those behind it.
    """
    client, wanted = applying.client, pool.queue_names()
    found = {queue.name: queue for queue in await queues_of(client, pool_name)}
    places = {name: queue.priority for name, queue in found.items()}
    missing = [name for name in wanted if name not in found]
    for name in missing:
        place = _place(name, wanted, places)
        make = partial(client.create_work_queue, name, priority=place, work_pool_name=pool_name)
        await applying.make(_QUEUE, f"{pool_name}/{name}", make)
        places = _with(name, place, places)
    moved = 0 if applying.dry_run and missing else await _put_in_order(applying, pool_name, wanted)
    others = [queue for name, queue in found.items() if name not in wanted and parse_queue(name)]
    kept = [queue for queue in others if _is_served(queue)]
    if not missing and not moved:
        besides = f", and {len(kept)} by another machine's GPU policy" if kept else ""
        applying.say(_QUEUE, pool_name, Outcome.SAME, f"{len(wanted)} queues{besides}")
    for queue in others:
        if queue not in kept:
            name = queue.name
            await applying.remove(_QUEUE, f"{pool_name}/{name}", partial(_remove_queue, client, pool_name, queue))


def _is_served(queue: WorkQueue) -> bool:
    """Whether a worker asks it for work, or somebody paused it: by another machine's policy it is declared."""
    return queue.status in (WorkQueueStatus.READY, WorkQueueStatus.PAUSED)


def _place(name: str, wanted: list[str], places: Mapping[str, int]) -> int:
    """The priority with which a queue comes in right behind those that are more urgent."""
    index = wanted.index(name)
    before = [places[one] for one in wanted[:index] if one in places]
    behind = [places[one] for one in wanted[index:] if one in places]
    return max(before, default=0) + 1 if before or not behind else min(behind)


def _with(name: str, place: int, places: Mapping[str, int]) -> dict[str, int]:
    """The priorities after a queue came in: Prefect moves each one that would stand at a place that is taken."""
    order, last = {}, 0
    for one, wished in sorted({**places, name: place}.items(), key=lambda item: (item[1], item[0] != name)):
        order[one] = last = max(wished, last + 1)
    return order


async def _put_in_order(applying: Applying, pool_name: str, wanted: list[str]) -> int:
    """Moves each queue that stands before one that is more urgent; gives the number that had to be moved."""
    client = applying.client
    there = {queue.name: queue for queue in await queues_of(client, pool_name)}
    others = max([0, *(queue.priority for name, queue in there.items() if name not in wanted)])
    last, moved = 0, 0
    for name in wanted:
        at_least = max(last, others) if name == DEFAULT_QUEUE else last
        if (queue := there[name]).priority <= at_least:
            move = partial(client.update_work_queue, queue.id, priority=at_least + 1)
            await applying.do(_QUEUE, f"{pool_name}/{name}", Outcome.CHANGED, move, "its place in the order")
            moved += 1
            if applying.dry_run:
                continue
            there = {one.name: one for one in await queues_of(client, pool_name)}
        last = there[name].priority
    return moved


async def queues_of(client: PrefectClient, pool_name: str) -> list[WorkQueue]:
    """All queues of a pool, the most urgent first."""
    found: list[WorkQueue] = []
    while page := await client.read_work_queues(work_pool_name=pool_name, limit=_PAGE, offset=len(found)):
        found += page
        if len(page) < _PAGE:
            break
    return sorted(found, key=lambda queue: queue.priority)


async def _remove_queue(client: PrefectClient, pool_name: str, queue: WorkQueue) -> None:
    await refuse_if_pool_is_needed(client, pool_name, queue.name)
    await client.delete_work_queue_by_id(queue.id)


async def _remove_pool(client: PrefectClient, pool_name: str) -> None:
    await refuse_if_pool_is_needed(client, pool_name)
    await client.delete_work_pool(pool_name)
