"""Stacking: whether a task's model trains as rows of a population, found by trying, and why not."""

from __future__ import annotations

import dataclasses
import math
import warnings

import torch

from search_spaces.ranges import Value
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from search_spaces.task_code import names_a_file
from workers.messages import Admission, Measured, TaskArguments
from workers.population import MINIMUM_WIDTH, Population
from workers.recipe import Recipe
from workers.solo import SoloTrial
from workers.tasks.registry import make_task, task_class, task_data
from workers.tasks.task import Data
from workers.torch_catalogue import catalogue_for
from workers.variants import variants_of

UPDATES = 2
VALIDATION_EXAMPLES = 64
MOST_TRIED = 20  # distinct task arguments
_TOLERANCE = {"bf16": 0.1}  # largest relative difference of two losses; 1e-3 in full precision
_LEARNING_RATE = 1e-3
_LONGEST_REASON = 200


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
        reason = why_not_stacked(space.task, arguments, batch_size, precision)
        if reason is not None:
            return f"{_with(arguments)}{reason}"
    return None


def why_not_stacked(
    reference: str, arguments: TaskArguments, batch_size: int, precision: str = "float32"
) -> str | None:
    """Why the task's trials cannot be rows of a population; None where they can.

    A few updates are trained both ways; rows must show the losses that the plain loop shows. Raises what
    the task raises where even that loop fails.
    """
    known = task_class(reference)
    data = _beginning(task_data(reference, arguments), batch_size)
    recipe = Recipe(
        task=make_task(reference, arguments),
        data=data,
        epochs=2,
        metric="val_loss",
        precision=precision,
        functions=known.functions,
    )
    setting = Setting(optimizer="SGD", arguments={"lr": _LEARNING_RATE}, batch_size=batch_size)
    first, second = (Admission(number=seed, seed=seed, setting=setting) for seed in range(2))
    trial, late = SoloTrial(recipe, first), SoloTrial(recipe, second)
    alone = [trial.advance(), trial.advance(), late.advance()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about operations that are batched one by one
            population = Population(recipe, optimizer="SGD", batch_size=batch_size, width=MINIMUM_WIDTH)
            population.admit(first)
            together = population.advance([0])
            population.admit(second)  # a row must not depend on what its model has done before
            together += population.advance([0, 1])
    except Exception as error:  # noqa: BLE001 - a task's own code under vmap: whatever it raises is the reason
        return _reason(error)
    tolerance = _TOLERANCE.get(precision, 1e-3)
    for one, row in zip(alone, together, strict=False):
        if not isinstance(one, Measured) or not isinstance(row, Measured):
            return None  # a loss that is not finite compares with nothing
        pairs = [(one.train_loss, row.train_loss), (one.metrics["val_loss"], row.metrics["val_loss"])]
        if not all(math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6) for a, b in pairs):
            return f"stacked, its losses are {_losses(row)} after {row.step} updates, alone {_losses(one)}"
    return None


def _losses(outcome: Measured) -> str:
    return f"{outcome.train_loss:.6g} and {outcome.metrics['val_loss']:.6g}"


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


def _reason(error: Exception) -> str:
    """What stands in the way, in words of the model where PyTorch's own are about its machinery."""
    said = " ".join(str(error).split())
    if "randomness" in said:
        return "it draws random numbers that are not dropout's, which cannot be a function of the trial alone"
    if "data-dependent control flow" in said or ".item()" in said:
        return "it looks at the values of tensors (.item(), if, float(...)), which differ from row to row"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "it does not fit the device's memory four times"
    sentence = said.split(". ")[0][:_LONGEST_REASON] or type(error).__name__
    return f"PyTorch cannot batch it over trials: {sentence}"


def _with(arguments: TaskArguments) -> str:
    told = ", ".join(f"{name} {_shown(value)}" for name, value in arguments)
    return f"with {told}, " if told else ""


def _shown(value: Value) -> str:
    return repr(value) if isinstance(value, str) else str(value)
