"""What grows while a stage runs, in Prefect's pages: one artifact that is changed in place, not a new one each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import TableArtifact, create_image_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from tasks.stage import shown_if_possible

_SHARE_OF_TIME = 0.01


class Pace:
    """How often something is told: the pause grows with the time that has passed.

    Prefect keeps what it is told for days: after a day there were a few hundred of them, not ten thousand.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._began = time.monotonic()
        self._told_at = float("-inf")

    def due(self) -> bool:
        """True where it is time for the next."""
        now = time.monotonic()
        return now - self._told_at >= max(self._every_s, _SHARE_OF_TIME * (now - self._began))

    def told(self) -> None:
        """The pause begins anew."""
        self._told_at = time.monotonic()


class Live(Pace):
    """An artifact that is made at its first content and changed by each further one, not too often."""

    def __init__(self, every_s: float) -> None:
        super().__init__(every_s)
        self._artifact: UUID | None = None

    def _show(self, make: Callable[[], Any], data: str, description: str) -> None:
        with shown_if_possible():
            if self._artifact is None:
                self._artifact = cast(UUID, make())  # a coroutine only where the caller is one
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._artifact, ArtifactUpdate(data=data, description=description))
        self.told()


class LiveTable(Live):
    """A table."""

    def __init__(self, key: str, every_s: float = 5.0) -> None:
        super().__init__(every_s)
        self._key = key

    def show(self, rows: list[dict[str, Any]], description: str) -> None:
        """Puts these rows in place of what was shown."""

        def make() -> Any:
            with shown_if_possible():
                return create_table_artifact(table=rows, key=self._key, description=description)

        self._show(make, cast(str, TableArtifact(table=rows).format()), description)


class LivePicture(Live):
    """A picture, as a `data:` address."""

    def __init__(self, key: str, every_s: float = 15.0) -> None:
        super().__init__(every_s)
        self._key = key

    def show(self, uri: str, description: str) -> None:
        """Puts this picture in place of what was shown."""

        def make() -> Any:
            with shown_if_possible():
                return create_image_artifact(image_url=uri, key=self._key, description=description)

        self._show(make, uri, description)
