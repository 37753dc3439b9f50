"""The command line's :class:`~search_spaces.task_code.TaskCode`: files of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from search_spaces.catalogue import Catalogue, TaskEntry
from search_spaces.errors import shorten
from search_spaces.ranges import Range
from search_spaces.task_code import TaskRefused, TriedTask
from workers.task_rehearsal import rehearse_task
from workers.tasks.task_file import WANTED_REFERENCE, split_reference, task_file
from workers.torch_catalogue import catalogue_for


class LocalCode:
    """Looks for what a sweep file names in the places that it is given, in their order."""

    def __init__(self, places: Mapping[str, Path], known: Mapping[str, str] | None = None) -> None:
        """``places``: folders by what they are called in messages. ``known``: paths found before."""
        self._places = places
        self.paths: dict[str, str] = dict(known or {})  # absolute, by how the sweep file writes them

    def absolute(self, written: str) -> str:
        """The absolute path of the file or folder ``written`` so. Raises TaskRefused, naming the places."""
        if written not in self.paths:
            self.paths[written] = self._found(written)
        return self.paths[written]

    def catalogue(self, written: str) -> tuple[str, Catalogue]:
        """The task's absolute reference, and a catalogue with it. Runs the file. Raises TaskRefused."""
        path, name = split_reference(written)
        reference = f"{self.absolute(path)}:{name}"
        try:
            return reference, catalogue_for(reference)
        except TaskRefused as error:
            path = self.absolute(path)
            got = error.got if path in error.got else f"{name} in {path}: {error.got}"
            raise TaskRefused(got, error.wanted, error.hint) from error

    def tried(self, task: TaskEntry, arguments: Mapping[str, Range], batch_size: Range) -> TriedTask:
        """What a batch of the task shows at the ends of its arguments' ranges. Runs the task."""
        return rehearse_task(task.name, arguments, batch_size)

    def digests(self, reference: str) -> dict[str, str]:
        """SHA-256 by path of the task's file and of what it has imported from its folder."""
        return dict(task_file(split_reference(reference)[0]).digests)

    def _found(self, written: str) -> str:
        given = Path(written).expanduser()
        places = {"": Path("/")} if given.is_absolute() else self._places
        for folder in places.values():
            path = folder / given
            if path.exists():
                # The folder's real path, as Python looks for modules beside a script; the name as written,
                # because it may be a link whose target has no suffix.
                return str(path.parent.resolve() / path.name)
        shown = dict.fromkeys(
            f"{folder.absolute()} ({called})" for called, folder in places.items() if called
        )
        where = f" in {' or '.join(shown)}" if shown else ""
        wanted = WANTED_REFERENCE if written.endswith(".py") else "a file or folder that there is"
        raise TaskRefused(f"there is no {shorten(written, 200)}{where}", wanted)
