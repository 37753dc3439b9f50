"""Anatomy: what of a model is trained, what changes on the way, and what all trials can share.

Found by one training pass over the model with its first initial weights, not by names of modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.keyed_randomness import KeyedRandomness
from workers.optimization import is_bias_or_norm
from workers.randomness import initial_model
from workers.row_layout import RowLayout
from workers.tasks.task import Data, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A model taken apart, by the names of its parameters and buffers."""

    trained: Mapping[str, torch.Size]  # shapes of the parameters that get gradients, weights first if grouped
    weights: int  # how many of the trained numbers belong to the first parameter group
    stacked: tuple[str, ...]  # buffers and frozen parameters that change in training or with the seed
    draws_masks: bool  # whether dropout asks for masks
    interleaves_rows: bool  # whether it calls functions that want :class:`workers.row_layout.RowLayout`

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return sum(shape.numel() for shape in self.trained.values())


def anatomy_of(task: Task, data: Data, batch_size: int, *, two_groups: bool = False) -> Anatomy:
    """The anatomy of the task's model, on the CPU.

    Raises ValueError where nothing is trained, or one of two parameter groups would be empty, and whatever
    the task's own code raises.
    """
    first, second = initial_model(task, 0), initial_model(task, 1)
    before = {name: tensor.clone() for name, tensor in tensors_of(first)}
    other = dict(tensors_of(second))
    examples = len(data.train_inputs) if data.full_batch_updates is not None else batch_size
    first.train()
    masks, layout = KeyedRandomness(torch.tensor(0, dtype=torch.int32)), RowLayout()
    with torch.random.fork_rng(devices=[]), masks, layout:
        loss = task.loss(first(data.train_inputs[:examples].cpu()), data.train_targets[:examples].cpu())
        loss.backward()  # type: ignore[no-untyped-call]
    trained = {
        name: parameter.shape for name, parameter in first.named_parameters() if _is_trained(parameter)
    }
    if not trained:
        raise ValueError("the loss does not depend on any parameter of the model")
    weights = sum(shape.numel() for shape in trained.values())
    if two_groups:
        groups = {
            name: {key: shape for key, shape in trained.items() if is_bias_or_norm(key, shape) == later}
            for name, later in (("weights", False), ("biases and norms", True))
        }
        empty = [name for name, members in groups.items() if not members]
        if empty:
            raise ValueError(f"bias_lr needs two groups, and the model has no {empty[0]}")
        trained = {**groups["weights"], **groups["biases and norms"]}
        weights = sum(shape.numel() for shape in groups["weights"].values())
    changing = tuple(
        name
        for name, tensor in tensors_of(first)
        if name not in trained and not (_equal(tensor, before[name]) and _equal(before[name], other[name]))
    )
    return Anatomy(
        trained=trained,
        weights=weights,
        stacked=changing,
        draws_masks=masks.layers > 0,
        interleaves_rows=layout.calls > 0,
    )


def tensors_of(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Every parameter and buffer of a model by name, detached."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, tensor.detach()


def _is_trained(parameter: nn.Parameter) -> bool:
    """Whether torch.optim would step it: one without a gradient is passed over."""
    return parameter.requires_grad and parameter.grad is not None


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))
