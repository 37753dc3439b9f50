"""Tasks that a sweep file names by a file of Python: what reading the sweep file needs to be told of them.

Such a task runs code as soon as it is looked at. So whoever reads a sweep file says whether it may: the
command line gives a :class:`TaskCode`, everybody else gives None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from search_spaces.catalogue import Catalogue, TaskEntry
from search_spaces.ranges import Range

NOT_FROM_HERE = "a task file runs code, and is taken from the command line only"


class TaskRefused(ValueError):
    """Something is wrong with a task that a user brought; phrases as in a sweep file's problem."""

    def __init__(self, got: str, wanted: str, hint: str = "") -> None:
        super().__init__(got, wanted, hint)
        self.got = got
        self.wanted = wanted
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.got}; wants {self.wanted}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProblem:
    """What trying a task showed to be wrong, and which field of the sweep file it is about."""

    label: str  # "task", "task_args" or "batch_size"
    argument: str | None  # of the task, where one is to blame
    got: str
    wanted: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedTask:
    """What trying a task showed."""

    metrics: tuple[str, ...]  # beside train_loss; () where a problem kept them from being seen
    problems: tuple[TaskProblem, ...] = ()


class TaskCode(Protocol):
    """Finds, loads and tries a task that the sweep file names by its file."""

    def absolute(self, written: str) -> str:
        """The absolute path of the file or folder ``written`` so. Raises TaskRefused, naming the places."""
        ...

    def catalogue(self, written: str) -> tuple[str, Catalogue]:
        """The task's absolute reference, and a catalogue that has it and its own optimizers.

        ``written`` is ``path/to/file.py:Name``. Runs the file. Raises TaskRefused.
        """
        ...

    def tried(self, task: TaskEntry, arguments: Mapping[str, Range], batch_size: Range) -> TriedTask:
        """What a batch of the task shows at the ends of its arguments' ranges. Runs the task."""
        ...


def names_a_file(written: str) -> bool:
    """Whether ``written`` stands for a file of Python rather than for a registered task."""
    return written.endswith(".py") or written.rpartition(":")[0].endswith(".py")
