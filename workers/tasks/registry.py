"""The tasks by their registered names, and the users' own by their files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from search_spaces.task_code import names_a_file
from workers.messages import TaskArguments
from workers.tasks.chars import Chars
from workers.tasks.digits_cnn import DigitsCNN
from workers.tasks.digits_mlp import DigitsMLP
from workers.tasks.images import Images
from workers.tasks.mnist1d import MNIST1D
from workers.tasks.quadratic import Quadratic
from workers.tasks.shared_data import shared
from workers.tasks.table import Table
from workers.tasks.task import Data, Task, TaskClass, TrainingSize
from workers.tasks.user_class import user_class
from workers.tasks.user_loop import UserLoop

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
        TaskClass(
            name="digits-cnn",
            summary="scikit-learn's handwritten digits, two convolutions, cross-entropy",
            make=DigitsCNN,
            metrics=("val_loss", "val_accuracy"),
        ),
        TaskClass(
            name="mnist1d",
            summary="the one-dimensional MNIST of Greydanus and Kobak, its CNN, MLP or linear model",
            make=MNIST1D,
            metrics=("val_loss", "val_accuracy"),
        ),
        TaskClass(
            name="chars",
            summary="a small GPT on the text of Python's own standard library, next character",
            make=Chars,
            metrics=("val_loss", "val_accuracy"),
        ),
        TaskClass(
            name="table",
            summary="a column of your CSV or Parquet file from the others, MLP, classes or numbers",
            make=Table,
            metrics=("val_loss", "val_score"),
            paths=("path",),
        ),
        TaskClass(
            name="images",
            summary="your folder of images by class, or an .npz, ResNet-9 with flips and crops",
            make=Images,
            metrics=("val_loss", "val_accuracy"),
            paths=("path",),
        ),
    )
}


def task_class(reference: str) -> TaskClass:
    """The task class called ``reference``: a registered name, or ``/absolute/path/to/file.py:Name``.

    Raises KeyError for an unknown name, TaskRefused for a file that holds no such task.
    """
    return user_class(reference) if names_a_file(reference) else TASKS[reference]


def make_task(reference: str, arguments: TaskArguments) -> Task:
    """The task called ``reference`` with its arguments.

    Only the last few are kept: a task may hold its data, and where an argument varies continuously every
    trial has a task of its own. Raises what :func:`task_class` raises, and what the task raises for
    arguments it refuses.
    """
    return _make(reference, arguments, repr(arguments))


def make_loop(reference: str, arguments: TaskArguments) -> UserLoop:
    """A new object of the loop class called ``reference``: a loop may keep its trial on itself.

    Raises what :func:`make_task` raises.
    """
    loop: UserLoop = task_class(reference).make(**dict(arguments))
    return loop


def task_data(reference: str, arguments: TaskArguments) -> Data:
    """The data of a task; equal data are one object in this process, as long as anybody uses it."""
    return _data(reference, arguments, repr(arguments))


def training_size(reference: str, arguments: TaskArguments) -> TrainingSize:
    """How much a task has to train on. Loads its data once, and keeps the numbers only."""
    return _size(reference, arguments, repr(arguments))


def forget_tasks() -> None:
    """Let go of the tasks and data of this process that nobody uses."""
    _make.cache_clear()
    _data.cache_clear()


# The text tells 1, 1.0 and true apart, which are equal as keys.
@lru_cache(maxsize=2)
def _make(reference: str, arguments: TaskArguments, _: str) -> Task:
    task: Task = task_class(reference).make(**dict(arguments))
    return task


@lru_cache(maxsize=1)
def _data(reference: str, arguments: TaskArguments, _: str) -> Data:
    return shared(make_task(reference, arguments).data())


@lru_cache(maxsize=4096)
def _size(reference: str, arguments: TaskArguments, _: str) -> TrainingSize:
    return task_data(reference, arguments).size
