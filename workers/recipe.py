"""What all trials of one worker have in common, stacked or solo: task, data, device and precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from workers.keyed_randomness import uniform_numbers
from workers.tasks.task import Data, Task, augmentation_of, copy_of

MOST_EVALUATION_EXAMPLES = 512
FEWEST_EVALUATION_EXAMPLES = 32
EVALUATION_NUMBERS = 2**19  # of the inputs evaluated at once, for one trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that training needs to know beside a trial's own setting."""

    task: Task
    data: Data  # on ``device``, or in the host's memory where it does not fit there
    epochs: int  # a trial's full length
    metric: str  # name of the metric trials are judged by
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "float32"  # float32 | tf32 | bf16
    convolutions: str = "grouped"  # grouped | unfolded: how rows of a population are convolved
    functions: Mapping[str, Callable[[int], float]] = field(default_factory=dict)  # of the task's own code
    optimizers: Mapping[str, type[Optimizer]] = field(default_factory=dict)  # of the task's own code

    def autocast(self) -> torch.autocast:
        """Mixed precision for forward passes where the precision is bf16; nothing otherwise.

        Casts are not cached: a cached one would outlive the update of the weights that it is a copy of.
        """
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bf16",
            cache_enabled=False,
        )

    def for_one_trial(self) -> Recipe:
        """The same with a copy of the task: what it keeps of a trial, its model say, is that trial's."""
        return replace(self, task=copy_of(self.task))

    @property
    def augments(self) -> bool:
        """Whether the task changes its training inputs at random."""
        return augmentation_of(self.task) is not None

    def augmented(self, inputs: Tensor, key: Tensor) -> Tensor:
        """``inputs`` (batch, ...) of one trial's update as the task augments them by ``key``."""
        augment = augmentation_of(self.task)
        return inputs if augment is None else augment(inputs, uniform_numbers(key, len(inputs)))

    def validation_parts(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Inputs, targets and share of all of each part that is evaluated at once, on the device.

        The split is a function of the data only, because it decides the order of a mean's sum.
        """
        inputs, targets = self.data.validation_inputs, self.data.validation_targets
        numbers = math.prod(inputs.shape[1:]) or 1
        examples = EVALUATION_NUMBERS // numbers
        examples = min(max(examples, FEWEST_EVALUATION_EXAMPLES), MOST_EVALUATION_EXAMPLES)
        for part, part_targets in zip(
            torch.split(inputs, examples), torch.split(targets, examples), strict=True
        ):
            # Copies: a model may write into its inputs.
            given = part.to(self.device, copy=True), part_targets.to(self.device, copy=True)
            yield *given, len(part) / len(inputs)


@contextmanager
def numeric_settings(precision: str) -> Iterator[None]:
    """Put a precision's switches of this process in place, and back at the end.

    tf32 is a switch of CUDA's matrix products and convolutions; on a CPU it changes nothing.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
