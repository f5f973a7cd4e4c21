"""Storing a version's folders: hashed, taken into DVC, pushed; what an error leaves is taken back."""

from __future__ import annotations

from pathlib import Path

from glaucoma.datasets.registry import (
    RegisterSettings,
    Registration,
    cache_folder,
    checked_sums,
    heal_sums,
    registered_folders,
    registered_sum,
    sums_path,
)
from glaucoma.datasets.remote import Remote
from glaucoma.datasets.sums import compare_sums, format_sums, part_of, sum_folder
from glaucoma.errors import IntegrityError
from glaucoma.progress import Progress
from glaucoma.provenance import file_sha256, require_disk_space, write_bytes
from glaucoma.workspace import Workspace

_SUMS_SHARE, _ADDED_SHARE = 0.3, 0.6


def default_remote(workspace: Workspace) -> Remote:
    """The remote where nothing else is said: a folder in the workspace."""
    return Remote(str(workspace.root / "dvc-remote"))


class Storing:
    """One registration on its way: what it has written so far, so that an error can take it back."""

    def __init__(
        self,
        name: str,
        folders: list[Path],
        workspace: Workspace,
        settings: RegisterSettings,
        remote: Remote,
        report: Progress,
    ) -> None:
        self._name, self._folders, self._workspace = name, folders, workspace
        self._settings, self._remote, self._report = settings, remote, report
        self._written: list[Path] = []
        self.files = 0
        self.bytes = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

    def store(self, registry: dict[str, list[Registration]]) -> tuple[dict[str, str], list[str]]:
        """Hashes, stores and pushes the folders; gives the SHA-256 of each list of sums, and DVC's hash of each folder.

        On an error what this call wrote is removed again.
        """
        from glaucoma.datasets.dvc_store import DvcStore, dvc_file
        from glaucoma.datasets.remote_objects import reach

        root = self._workspace.root
        copies = 1 + (self._settings.push and self._remote == default_remote(self._workspace))
        require_disk_space(root, self.bytes * copies, f"DVC's copies of {self._name}")
        if self._settings.push:
            reach(self._remote)  # before all the work
        entries = [entry for found in registry.values() for entry in found]
        try:
            sums = dict(self._sum(place, registry.get(self._name, [])) for place in range(len(self._folders)))
            self._report(_ADDED_SHARE, "DVC takes in the files")
            known = {folder: md5 for entry in entries for folder, md5 in registered_folders(entry, self._workspace)}
            store = DvcStore(root, self._remote, known)
            self._written += [dvc_file(folder) for folder in self._folders if folder not in known]
            md5 = [store.add(folder) for folder in self._folders]
            if self._settings.push_again:
                self._clear_damaged(md5)
            if self._settings.push:
                self._report(0.8, f"DVC pushes to {self._remote}")
                store.push(self._folders)
        except BaseException:
            for path in self._written:
                path.unlink(missing_ok=True)
            raise
        self._store = store
        return sums, md5

    def drop_cache_if_spare(self, registry: dict[str, list[Registration]]) -> None:
        """Empties DVC's cache where all that is registered lies in a remote."""
        if all(entry.remote for entries in registry.values() for entry in entries):
            self._store.drop_cache()

    def _clear_damaged(self, md5: list[str]) -> None:
        """Removes the remote's damaged objects and its lists of these folders: what is there, DVC takes for good."""
        from glaucoma.datasets.remote_objects import RemoteObjects

        self._report(0.7, f"reading what is at {self._remote}")
        objects, cache = RemoteObjects(self._remote), RemoteObjects(Remote(str(cache_folder(self._workspace))))
        for name in md5:
            damaged = cache.read_folder(name, lambda _, one: one if objects.sha256(one) != cache.sha256(one) else None)
            for one in [*(damaged or {}).values(), name]:
                objects.remove(one)

    def _sum(self, place: int, entries: list[Registration]) -> tuple[str, str]:
        """Writes the list of sums of one folder; gives its path and its own SHA-256."""
        folder, root = self._folders[place], self._workspace.root
        sums = sum_folder(folder, root, report=part_of(self._report, _SUMS_SHARE * place, _SUMS_SHARE))
        self.files += len(sums)
        path, text = sums_path(self._name, folder, self._workspace), format_sums(sums)
        for entry in reversed(entries):
            if registered_sum(entry, folder, self._workspace) is not None:
                _require_same(entry, folder, sums, self._workspace)
                break
        else:
            self._written.append(path)
        write_bytes(path, text)
        return path.relative_to(root).as_posix(), file_sha256(path)


def _require_same(entry: Registration, folder: Path, sums: dict[str, str], workspace: Workspace) -> None:
    """`IntegrityError` unless the folder still is what an earlier registration of it says."""
    if heal_sums(entry, folder, workspace, sums) and checked_sums(entry, folder, workspace) == sums:
        return
    try:
        said = str(compare_sums(checked_sums(entry, folder, workspace), sums))
    except IntegrityError:
        said = "and its list of sums is damaged too"
    raise IntegrityError(
        f"{folder} has changed since it was registered ({said})",
        consequence="Nothing was registered, and the registered version stays as it was",
        remedy=f"python -m flows.restore --name {entry.name} --version {entry.version} --replace-damaged",
    )
