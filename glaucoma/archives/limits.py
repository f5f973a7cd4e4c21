"""What one archive, with all that stands inside it, has used of its limits so far."""

from __future__ import annotations

import time

from glaucoma.archives.refusals import over_limit, shown
from glaucoma.archives.settings import UnpackSettings


class Budget:
    """Counts members, bytes and seconds of an archive and of the archives inside it, all against the same limits.

    Args:
        label: How the outermost archive is called in a message.
        archive_bytes: Its size, against which the ratio of the whole is held.
    """

    def __init__(self, label: str, archive_bytes: int, settings: UnpackSettings) -> None:
        self.settings = settings
        self.label = label
        self.members = 0
        self.bytes = 0
        self._deadline = time.monotonic() + settings.max_seconds
        self._most_bytes = max(settings.ratio_floor_bytes, int(settings.max_ratio * archive_bytes))

    def add_member(self) -> None:
        """One more file or folder."""
        self.members += 1
        if self.members > self.settings.max_files:
            raise over_limit(
                self.label, f"more than {self.settings.max_files} members", "max_files", self.settings.max_files
            )

    def add_bytes(self, name: str, file_bytes: int, count: int) -> None:
        """`count` more bytes, of a file called `name` that now has `file_bytes`."""
        settings = self.settings
        self.bytes += count
        if file_bytes > settings.max_file_bytes:
            found = f"{shown(name)} of more than {settings.max_file_bytes} bytes"
            raise over_limit(self.label, found, "max_file_bytes", settings.max_file_bytes)
        if self.bytes > settings.max_total_bytes:
            found = f"more than {settings.max_total_bytes} bytes of files (reached at {shown(name)})"
            raise over_limit(self.label, found, "max_total_bytes", settings.max_total_bytes)
        if self.bytes > self._most_bytes:
            found = f"more than {self._most_bytes} bytes in so small an archive (reached at {shown(name)})"
            raise over_limit(self.label, found, "max_ratio", settings.max_ratio)
        self.check_time(name)

    def check_stated(self, sizes: list[tuple[str, int]], label: str) -> int:
        """The sum of the sizes that a table of contents states, checked against the limits before a byte is written."""
        settings = self.settings
        if self.members + len(sizes) > settings.max_files:
            raise over_limit(label, f"{len(sizes)} members", "max_files", settings.max_files)
        for name, size in sizes:
            if size > settings.max_file_bytes:
                found = f"{shown(name)} of {size} bytes"
                raise over_limit(label, found, "max_file_bytes", settings.max_file_bytes)
        total = sum(size for _, size in sizes)
        if self.bytes + total > settings.max_total_bytes:
            raise over_limit(label, f"{total} bytes of files", "max_total_bytes", settings.max_total_bytes)
        return total

    def check_ratio(self, name: str, packed: int, size: int, label: str) -> None:
        """Refuses a file that would become too many times larger than it is packed."""
        settings = self.settings
        if size > max(settings.ratio_floor_bytes, settings.max_ratio * packed):
            found = f"{shown(name)}, {packed} bytes that become {size}"
            raise over_limit(label, found, "max_ratio", settings.max_ratio)

    def check_stream(self, count: int, packed: int, label: str) -> None:
        """Refuses a compressed stream of `packed` bytes that has given `count` already and goes on."""
        settings = self.settings
        if count > max(settings.ratio_floor_bytes, settings.max_ratio * packed):
            raise over_limit(label, f"more than {count} bytes", "max_ratio", settings.max_ratio)

    @property
    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def check_time(self, name: str) -> None:
        """Refuses to go on once the time is spent."""
        if self.seconds_left < 0:
            found = f"more than can be unpacked in {self.settings.max_seconds:g} seconds (reached {shown(name)})"
            raise over_limit(self.label, found, "max_seconds", self.settings.max_seconds)
