"""Solo cooldowns: copies of what a trial trains with, and an optimizer whose learning rate falls to zero."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer

from workers.cooldown_rates import falling
from workers.memory import is_out_of_memory
from workers.optimization import REFUSALS, Rates
from workers.recipe import Recipe
from workers.tasks.task import deep_copy_of
from workers.update_hooks import watch_updates


class CannotCopy(Exception):
    """A model, its optimizer or its task cannot be copied."""


def copies(recipe: Recipe, model: nn.Module, optimizer: Optimizer) -> tuple[Recipe, nn.Module, Optimizer]:
    """Deep copies that belong together as the originals do; training data are not copied.

    The task is among them: it may keep the model, for a penalty in its loss. Raises CannotCopy.
    """
    data = recipe.data
    shared = (data.train_inputs, data.train_targets, data.validation_inputs, data.validation_targets)
    if any(_has_hooks(parameter) for parameter in model.parameters()):
        raise CannotCopy("its parameters have hooks, which a copy would not have")
    memo: dict[int, Any] = {id(tensor): tensor for tensor in shared}
    try:
        model = copy.deepcopy(model, memo)
        own = copy.deepcopy(_own(optimizer), memo)
        task = deep_copy_of(recipe.task, memo)
    except REFUSALS as error:
        if is_out_of_memory(error):
            raise
        raise CannotCopy(" ".join(str(error).split()) or type(error).__name__) from error
    made = object.__new__(type(optimizer))
    vars(made).update(own)
    return replace(recipe, task=task), model, made


def _has_hooks(parameter: nn.Parameter) -> bool:
    names = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(parameter, name, None) for name in names)


def _own(optimizer: Optimizer) -> dict[str, Any]:
    """What an optimizer holds, without hooks, and without the ``step`` that a schedule has put on it.

    An optimizer's own way of being copied leaves out what a class keeps beside PyTorch's three attributes.
    """
    return {
        name: OrderedDict() if name.endswith("_hooks") else value
        for name, value in vars(optimizer).items()
        if name != "step"
    }


class FallingOptimization:
    """An optimizer whose learning rates fall to zero and whose momentum stays, in an Optimization's place."""

    def __init__(
        self, optimizer: Optimizer, in_force: Sequence[tuple[float, float | None]], updates: int
    ) -> None:
        """``in_force``: learning rate and momentum of each parameter group, to begin with."""
        self.optimizer = optimizer
        self._falls = [falling(lr, updates) for lr, _ in in_force]
        self._momentum = in_force[0][1]
        self._made = self._told = 0  # updates
        for group, (_, momentum) in zip(optimizer.param_groups, in_force, strict=True):
            if momentum is not None and "momentum" in group:
                group["momentum"] = momentum
            elif momentum is not None:
                group["betas"] = (momentum, *group["betas"][1:])
        watch_updates(optimizer, self._before_update, self._after_update)

    def rates(self) -> tuple[Rates, Rates | None]:
        """Learning rate and momentum of the first group at each update since the last call: (updates,)."""
        lr = self._falls[0][self._told : self._made]
        self._told = self._made
        return lr, None if self._momentum is None else np.full(len(lr), self._momentum)

    def end_epoch(self, metrics: Mapping[str, float]) -> None:
        """Nothing to step: the rates are known."""

    def _before_update(self) -> None:
        for group, fall in zip(self.optimizer.param_groups, self._falls, strict=True):
            group["lr"] = float(fall[self._made])

    def _after_update(self) -> None:
        self._made += 1
