"""The tasks by their registered names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from workers.messages import TaskArguments
from workers.tasks.digits_mlp import DigitsMLP
from workers.tasks.quadratic import Quadratic
from workers.tasks.task import Task, TaskClass

TASKS: Mapping[str, TaskClass] = {
    task.name: task
    for task in (
        TaskClass(
            name="digits-mlp",
            summary="scikit-learn's handwritten digits, MLP 64-64-64-10, cross-entropy",
            make=DigitsMLP,
            metrics=("val_loss", "val_accuracy"),
        ),
        TaskClass(
            name="quadratic",
            summary="a 20-dimensional ravine with known best momentum and edge of stability",
            make=Quadratic,
            metrics=("val_loss",),
        ),
    )
}


def task_class(reference: str) -> TaskClass:
    """The registration of the task called ``reference``. Raises KeyError for an unknown name."""
    return TASKS[reference]


@lru_cache(maxsize=256)
def make_task(reference: str, arguments: TaskArguments) -> Task:
    """The task called ``reference`` with its arguments.

    Raises KeyError for an unknown name, and what the task raises for arguments it refuses.
    """
    return task_class(reference).make(**dict(arguments))
