"""A model's parameters and buffers as rows of stacked tensors, and what the task says of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from workers.anatomy import Anatomy, CannotStack, tensors_of
from workers.keyed_randomness import KeyedRandomness
from workers.randomness import initial_model
from workers.recipe import Recipe
from workers.row_layout import RowLayout


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a model."""

    weights: Tensor  # (rows, parameters)
    buffers: dict[str, Tensor]  # (rows, *shape) by name


def refuse_strangers(loss: Tensor, leaves: Iterable[Tensor]) -> None:
    """Raise CannotStack where a loss of rows depends on other parameters than the rows' own, ``leaves``."""
    known, seen = {id(leaf) for leaf in leaves}, set()
    pending = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # of what accumulates a gradient
        if variable is not None and id(variable) not in known:
            raise CannotStack(
                "its loss reads parameters of a model that the task keeps, where rows have theirs elsewhere"
            )
        pending.extend(following for following, _ in node.next_functions)


class StackedModel:
    """Losses and metrics of many trials of one task at once. Rows never meet."""

    def __init__(self, recipe: Recipe, anatomy: Anatomy) -> None:
        """The recipe's model, taken apart as ``anatomy`` says."""
        self._recipe = recipe
        self._anatomy = anatomy
        self._skeleton = initial_model(recipe.task, 0).to(recipe.device)
        self.needs_keys = anatomy.draws_masks or recipe.augments
        keyed = 0 if self.needs_keys else None
        self._losses: Callable[..., Tensor] = vmap(self._loss_of_row, in_dims=(0, 0, 0, 0, keyed))
        self._metrics: Callable[..., dict[str, Tensor]] = vmap(self._metrics_of_row)
        self.metric_names: tuple[str, ...] = ()  # when they have been measured once
        self._has_trained = False

    def initial_row(self, seed: int) -> Rows:
        """One row on the device: the initial weights and buffers of a trial with ``seed``."""
        tensors = dict(tensors_of(initial_model(self._recipe.task, seed)))
        flat = torch.cat([tensors[name].reshape(-1) for name in self._anatomy.trained])
        return Rows(
            flat.unsqueeze(0).to(self._recipe.device),
            {name: tensors[name].unsqueeze(0).to(self._recipe.device) for name in self._anatomy.stacked},
        )

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a (rows, parameters) buffer by parameter name: (rows, *shape) each."""
        shapes = self._anatomy.trained
        parts = torch.split(flat.detach(), [shape.numel() for shape in shapes.values()], dim=1)
        return {
            name: part.view(len(flat), *shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

    def begin_training(self) -> None:
        """Modules that behave differently in training do so from now on."""
        self._skeleton.train()

    def update_inputs(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        keys: Tensor | None,
    ) -> list[Tensor]:
        """What :meth:`losses_and_gradients` is given. ``keys`` (rows,): of this update; None: unneeded."""
        ordered = [buffers[name] for name in self._anatomy.stacked]
        return [*parameters.values(), *ordered, inputs, targets, *([] if keys is None else [keys])]

    def losses_and_gradients(self, *given: Tensor) -> list[Tensor]:
        """Each row's mean loss over its own batch, (rows,), and the gradients of its parameters in order.

        A row's gradient is its own, whatever the width, because what is derived is the sum of the losses.
        Buffers that the model changes in training are changed in place.
        """
        trained, changing = self._anatomy.trained, self._anatomy.stacked
        leaves = [tensor.detach().requires_grad_() for tensor in given[: len(trained)]]
        inputs, targets, *keys = given[len(trained) + len(changing) :]
        losses = self._losses_of(leaves, given[len(trained) :], inputs, targets, keys[0] if keys else None)
        if not self._has_trained:
            refuse_strangers(losses, leaves)
            self._has_trained = True
        return [losses.detach(), *torch.autograd.grad(losses.sum(), leaves)]

    def _losses_of(
        self,
        parameters: Sequence[Tensor],
        buffers: Sequence[Tensor],
        inputs: Tensor,
        targets: Tensor,
        keys: Tensor | None,
    ) -> Tensor:
        named = dict(zip(self._anatomy.trained, parameters, strict=True))
        changing = dict(zip(self._anatomy.stacked, buffers, strict=False))
        with self._recipe.autocast():
            found = self._losses(named, changing, inputs, targets, keys)
        return found.to(parameters[0].dtype)

    def begin_evaluation(self) -> None:
        """Modules that behave differently in training no longer do so."""
        self._skeleton.eval()

    def metric_values(self, *given: Tensor) -> list[Tensor]:
        """Each row's metrics, (rows,) each, in the order of :attr:`metric_names`.

        ``given``: parameters, buffers, inputs and targets, (rows, ...) each.
        """
        trained, changing = list(self._anatomy.trained), list(self._anatomy.stacked)
        parameters = dict(zip(trained, given, strict=False))
        buffers = dict(zip(changing, given[len(trained) :], strict=False))
        with self._recipe.autocast():
            found = self._metrics(parameters, buffers, *given[-2:])
        self.metric_names = tuple(found)
        return list(found.values())

    def by_name(self, row: Rows) -> dict[str, Tensor]:
        """The parameters and stacked buffers of one row by name."""
        parameters = {name: view[0] for name, view in self.views(row.weights).items()}
        return parameters | {name: buffer[0] for name, buffer in row.buffers.items()}

    def _loss_of_row(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        key: Tensor | None,
    ) -> Tensor:
        masks: AbstractContextManager[object] = nullcontext()
        if key is not None:
            inputs = self._recipe.augmented(inputs, key)
            masks = KeyedRandomness(key) if self._anatomy.draws_masks else masks
        with masks, self._layout():
            return self._recipe.task.loss(self._outputs(parameters, buffers, inputs), targets)

    def _metrics_of_row(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        with self._layout():
            return dict(self._recipe.task.metrics(self._outputs(parameters, buffers, inputs), targets))

    def _outputs(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Any:
        return functional_call(self._skeleton, {**parameters, **buffers}, (inputs,))

    def _layout(self) -> AbstractContextManager[object]:
        return RowLayout(self._recipe.convolutions) if self._anatomy.wants_layout else nullcontext()
