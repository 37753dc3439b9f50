"""Anatomy: what of a model is trained, what changes on the way, and what all trials can share.

Found by one training pass over the model with its first initial weights, not by names of modules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.compiler_import import without_compiler
from workers.keyed_randomness import KeyedRandomness
from workers.optimization import is_bias_or_norm
from workers.randomness import initial_model
from workers.recipe import Recipe
from workers.row_layout import RowLayout, plain_formulas
from workers.vector_tails import Size, TailSizes

_SEEDS_COMPARED = 4  # a buffer that is drawn may turn out the same for two


class CannotStack(ValueError):
    """A model that no population can hold, in words of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A model taken apart, by the names of its parameters and buffers."""

    trained: Mapping[str, torch.Size]  # shapes of the parameters that get gradients, weights first if grouped
    two_groups: bool  # whether biases and norms are a parameter group of their own
    weights: int  # how many of the trained numbers belong to the first parameter group
    stacked: tuple[str, ...]  # buffers and frozen parameters that change in training or with the seed
    draws_masks: bool  # whether dropout asks for masks
    wants_layout: bool  # whether it calls functions that want :class:`workers.row_layout.RowLayout`
    convolves: bool  # whether it calls convolutions that may be unfolded
    tails: frozenset[Size]  # of functions whose tails differ, on a processor

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        return sum(shape.numel() for shape in self.trained.values())


def anatomy_of(recipe: Recipe, batch_size: int, *, two_groups: bool = False) -> Anatomy:
    """The anatomy of the recipe's model, on the CPU.

    Raises CannotStack where a population cannot hold its parameters, ValueError where nothing is trained or
    one of two parameter groups would be empty, and whatever the task's own code raises.
    """
    first, *others = (initial_model(recipe.task, seed) for seed in range(_SEEDS_COMPARED))
    before = {name: tensor.clone() for name, tensor in tensors_of(first)}
    masks, layout = KeyedRandomness(torch.tensor(0, dtype=torch.int32)), RowLayout()
    tails = TailSizes(halved=recipe.precision == "bf16")
    quickly = without_compiler(TailSizes.__torch_dispatch__)
    with torch.random.fork_rng(devices=[]), masks, layout, plain_formulas(), quickly, tails:
        _try(recipe, first, batch_size)
    parameters = {name: tensor for name, tensor in first.named_parameters() if _is_trained(tensor)}
    _refuse_types(parameters.values())
    trained = {name: parameter.shape for name, parameter in parameters.items()}
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
    alike = [before, *(dict(tensors_of(other)) for other in others)]
    changing = tuple(
        name
        for name, tensor in tensors_of(first)
        if name not in trained and not all(_equal(tensor, one[name]) for one in alike)
    )
    return Anatomy(
        trained=trained,
        two_groups=two_groups,
        weights=weights,
        stacked=changing,
        draws_masks=masks.layers > 0,
        wants_layout=layout.calls > 0,
        convolves=layout.convolutions > 0,
        tails=frozenset(tails.sizes) if recipe.device.type == "cpu" else frozenset(),
    )


def _try(recipe: Recipe, model: nn.Module, batch_size: int) -> None:
    """One update without its step, and an evaluation as far as its sizes go."""
    task, data = recipe.task, recipe.data
    examples = len(data.train_inputs) if data.full_batch_updates is not None else batch_size
    # Copies: a model may write into its inputs.
    inputs, targets = (
        examples_of[:examples].to("cpu", copy=True) for examples_of in (data.train_inputs, data.train_targets)
    )
    model.train()
    loss = task.loss(model(recipe.augmented(inputs, torch.tensor(0, dtype=torch.int32))), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    model.eval()
    sizes: set[int] = set()
    with torch.no_grad():
        for inputs, targets, _ in recipe.validation_parts():
            if len(inputs) not in sizes:
                task.metrics(model(inputs.cpu()), targets.cpu())
            sizes.add(len(inputs))


def _refuse_types(trained: Collection[nn.Parameter]) -> None:
    """Rows are of one type of real numbers."""
    if not trained:
        raise ValueError("the loss does not depend on any parameter of the model")
    types = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in trained})
    if len(types) > 1:
        raise CannotStack(f"its parameters are of several types, {' and '.join(types)}")
    if not all(parameter.is_floating_point() for parameter in trained):
        raise CannotStack(f"its parameters are {types[0]}, and what stacks is real")


def tensors_of(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Every parameter and buffer of a model by name, detached."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, tensor.detach()


def _is_trained(parameter: nn.Parameter) -> bool:
    """Whether torch.optim would step it: one without a gradient is passed over."""
    return parameter.requires_grad and parameter.grad is not None


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))
