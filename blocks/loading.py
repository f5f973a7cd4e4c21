"""One way to find a block that a person filled in, and one error where there is none."""

from __future__ import annotations

from typing import TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

from glaucoma.errors import NotFoundError

B = TypeVar("B", bound=Block)


def load_block(kind: type[B], name: str, document: str) -> B:
    """The block `name` of that kind on the current server.

    Args:
        document: Where the documentation says how to make one.

    Raises:
        NotFoundError: There is none.
        SettingsError: Its fields do not go together.
    """
    slug = kind.get_block_type_slug()
    try:
        block = kind.load(name)
    except (ValueError, ObjectNotFound):  # Prefect raises ValueError for a block document that is not there
        block = None
    if not isinstance(block, kind):
        raise NotFoundError(
            f"No block {slug}/{name} on this Prefect server",
            expected=f"the name of a block of type {slug}",
            remedy=f"make it in Prefect's pages under Blocks, or see {document}",
        )
    return block
