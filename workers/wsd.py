"""WSD, warmup-stable-decay: a schedule of ours beside PyTorch's, usable in any plain torch loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

_EXPONENTIAL = "exponential"
_EXPONENTIAL_FINAL_FACTOR = 0.1  # the tenth that cosine decays customarily end at: Hoffmann et al. 2022

# What is left above the final learning rate, of 1, after ``progress`` (0 to 1) of the decay.
_LEFT: Mapping[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: (1.0 + math.cos(math.pi * progress)) / 2.0,
    "1-sqrt": lambda progress: 1.0 - math.sqrt(progress),
}
_SHAPES = (*_LEFT, _EXPONENTIAL)


class WSD(lr_scheduler.LRScheduler):
    """The optimizer's learning rate held until ``decay_start``, then let down to a fraction of it.

    Warmup-stable-decay: Hu et al. 2024 (MiniCPM, arXiv 2404.06395); the shape ``1-sqrt`` and the way
    ``final_factor`` enters: Hägele et al. 2024 (arXiv 2405.18392). The warm-up is not part of this class:
    in a sweep file it is the field ``warmup``, which comes before any schedule; in a plain loop, a
    SequentialLR of LinearLR and WSD.

    After ``t`` steps the factor of the learning rate is 1 while ``t <= decay_start``, ``final_factor`` once
    ``t >= decay_start + decay_length``, and in between, with ``progress`` the fraction of the decay done,
    ``final_factor + (1 - final_factor) * left``, where ``left`` is

    - linear: ``1 - progress``
    - cosine: ``(1 + cos(pi * progress)) / 2``
    - 1-sqrt: ``1 - sqrt(progress)``

    or, exponential, ``final_factor ** progress``: the learning rate falls by the same ratio every step.

    It is a closed form of the step, per parameter group, as LambdaLR is; in a ChainedScheduler it therefore
    overrides what stands before it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        decay_start: int,
        decay_length: int | None = None,
        shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "1-sqrt",
        final_factor: float | None = None,
        total_steps: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        """``last_epoch`` is the steps made before, to resume; -1 to begin.

        - ``decay_start``: steps at the full learning rate before the decay, from 0.
        - ``decay_length``: steps that the decay takes; by default all that ``total_steps`` leaves. A decay
          that the end of training cuts off is allowed.
        - ``final_factor``: where the decay ends, from 0 to 1 times the full learning rate; by default 0, but
          0.1 for exponential, which never reaches 0.
        - ``total_steps``: the training's length; where a sweep file leaves it out, the training's length
          less the warm-up.

        Raises ValueError for arguments that describe no decay.
        """
        if shape not in _SHAPES:
            raise ValueError(f"shape must be one of {', '.join(_SHAPES)}, got {shape!r}")
        if final_factor is None:
            final_factor = _EXPONENTIAL_FINAL_FACTOR if shape == _EXPONENTIAL else 0.0
        self.decay_start = _whole("decay_start", decay_start, 0)
        self.total_steps = None if total_steps is None else _whole("total_steps", total_steps, 1)
        self.decay_length = self._decay_length(decay_length)
        self.shape = shape
        self.final_factor = _fraction(final_factor, shape)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of each parameter group after ``last_epoch`` steps."""
        factor = self._factor()
        return [base * factor for base in self.base_lrs]

    def _decay_length(self, given: int | None) -> int:
        if self.total_steps is not None and self.decay_start >= self.total_steps:
            raise ValueError(
                f"decay_start must be below {self.total_steps}, the steps of the training (total_steps), "
                f"got {self.decay_start}: nothing would decay"
            )
        if given is not None:
            return _whole("decay_length", given, 1)
        if self.total_steps is None:
            raise ValueError("WSD needs decay_length, or total_steps to decay until")
        return self.total_steps - self.decay_start

    def _factor(self) -> float:
        decayed = self.last_epoch - self.decay_start
        if decayed <= 0:
            return 1.0
        if decayed >= self.decay_length:
            return self.final_factor
        progress = decayed / self.decay_length
        if self.shape == _EXPONENTIAL:
            return math.pow(self.final_factor, progress)
        return self.final_factor + (1.0 - self.final_factor) * _LEFT[self.shape](progress)


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def _fraction(final_factor: float, shape: str) -> float:
    if isinstance(final_factor, bool) or not isinstance(final_factor, (int, float)):
        raise ValueError(f"final_factor must be a number, got {final_factor!r}")
    if not 0.0 <= final_factor <= 1.0:
        raise ValueError(f"final_factor must be from 0 to 1, got {final_factor!r}")
    if shape == _EXPONENTIAL and final_factor == 0.0:
        raise ValueError(
            f"final_factor must be above 0 for {shape}, which never reaches 0, got {final_factor!r}"
        )
    return float(final_factor)
