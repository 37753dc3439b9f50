"""Stacking: whether a task's model trains as rows of a population, found by trying, and why not."""

from __future__ import annotations

import dataclasses

from search_spaces.ranges import Value
from search_spaces.space import SearchSpace
from search_spaces.task_code import names_a_file
from workers.messages import TaskArguments
from workers.recipe import Recipe
from workers.stacked_try import EPOCHS, why_not_rows
from workers.tasks.registry import make_task, task_class, task_data
from workers.tasks.task import Data
from workers.torch_catalogue import catalogue_for
from workers.variants import variants_of

UPDATES = 2
VALIDATION_EXAMPLES = 64
MOST_TRIED = 20  # distinct task arguments


def why_solo(space: SearchSpace, precision: str = "float32") -> str | None:
    """Why the space's trials cannot be rows of a population; None where they can.

    A user's model is tried, stacked and solo, at the ends of the task's arguments.
    """
    if task_class(space.task).loop:
        return "the task brings its own training loop"
    known = catalogue_for(space.task).optimizers
    alone = [optimizer.name for optimizer in space.optimizers if not known[optimizer.name].stacked]
    if alone:
        stacked = ", ".join(name for name, entry in known.items() if entry.stacked)
        return f"{alone[0]} trains solo only; {stacked} are stacked"
    if not names_a_file(space.task):
        return None
    tried: dict[str, tuple[TaskArguments, int]] = {}
    for variant in variants_of(space):
        arguments = tuple(sorted(variant.setting.task_arguments.items()))
        tried.setdefault(repr(arguments), (arguments, variant.setting.batch_size))
    for arguments, batch_size in list(tried.values())[:MOST_TRIED]:
        try:
            reason = why_not_stacked(space.task, arguments, batch_size, precision)
        except (Exception, SystemExit):  # noqa: BLE001 - a task's own code
            return None  # what fails alone too fails in training, and is told there with its trial
        if reason is not None:
            return f"{_with(arguments)}{reason}"
    return None


def why_not_stacked(
    reference: str, arguments: TaskArguments, batch_size: int, precision: str = "float32"
) -> str | None:
    """Why the task's trials cannot be rows of a population; None where they can.

    A few updates are trained both ways, in one thread. A row must go where the plain loop goes, to the last
    bit the same beside other rows, of which one diverges; and nothing may be kept from update to update but
    parameters and buffers. Raises what the task raises where even the plain loop fails.
    """
    if precision == "bf16":  # whose rounding hides much
        reason = why_not_stacked(reference, arguments, batch_size)
        if reason is not None:
            return reason
    known = task_class(reference)
    recipe = Recipe(
        task=make_task(reference, arguments),
        data=_beginning(task_data(reference, arguments), batch_size),
        epochs=EPOCHS + 1,  # one more, so that rows are still there to be looked at
        metric="val_loss",
        precision=precision,
        functions=known.functions,
    )
    return why_not_rows(recipe, batch_size)


def _beginning(data: Data, batch_size: int) -> Data:
    """As much of the data as the try needs."""
    validation = slice(0, VALIDATION_EXAMPLES)
    few = dataclasses.replace(
        data,
        validation_inputs=data.validation_inputs[validation],
        validation_targets=data.validation_targets[validation],
    )
    if data.full_batch_updates is not None:
        return dataclasses.replace(few, full_batch_updates=min(UPDATES, data.full_batch_updates))
    training = slice(0, UPDATES * batch_size)
    return dataclasses.replace(
        few, train_inputs=data.train_inputs[training], train_targets=data.train_targets[training]
    )


def _with(arguments: TaskArguments) -> str:
    told = ", ".join(f"{name} {_shown(value)}" for name, value in arguments)
    return f"with {told}, " if told else ""


def _shown(value: Value) -> str:
    return repr(value) if isinstance(value, str) else str(value)
