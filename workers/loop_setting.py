"""What a user's own training loop is given: its setting by name, and PyTorch optimizers that keep to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from search_spaces.errors import nearest
from search_spaces.ranges import Value
from search_spaces.settings import Setting
from search_spaces.task_code import TaskRefused
from workers.optimization import Functions, Horizon, Optimization, Optimizers, momentum_of

FEWEST_UPDATES = 0.5
"""Share of the updates told of that an epoch makes at least: a few may be skipped, as GradScaler does."""

_WANTED_PARAMETERS = "a model, or what its named_parameters() or parameters() gives"


class LoopSetting(Mapping[str, Value]):
    """One trial's setting, to read: a frozen mapping of the names that the results' columns have.

    ``setting["lr"]``, ``setting["schedule.gamma"]``, ``setting["task.width"]``; what a schedule sets
    itself, and what the sweep file leaves to PyTorch's default, is absent.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        seed: int,
        epochs: int,
        device: str = "cpu",
        functions: Functions | None = None,
        optimizers: Optimizers | None = None,
    ) -> None:
        """``functions`` and ``optimizers`` are those of the task's own code."""
        flat = setting.to_json()
        self._values = {
            name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()
        }
        self._setting = setting
        self._seed = seed
        self._epochs = epochs
        self._device = device
        self._own_code = functions or {}, optimizers or {}
        self._made: list[LoopOptimizer] = []

    def __getitem__(self, name: str) -> Value:
        if name not in self._values:
            hint = nearest(name, self._values)
            raise KeyError(f"{name!r} is not in this trial's setting" + (f"; {hint}" if hint else ""))
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"LoopSetting({self._values!r})"

    @property
    def optimizer(self) -> str:
        """Name of the optimizer's class."""
        return self._setting.optimizer

    @property
    def schedule(self) -> str:
        """Name of the schedule's class; ``constant`` for none."""
        return self._setting.schedule.name

    @property
    def epochs(self) -> int:
        """A trial's full length: how often a loop yields."""
        return self._epochs

    @property
    def warmup_epochs(self) -> int:
        """Epochs of warm-up before the schedule starts; 0 for none."""
        return self._setting.warmup_epochs

    @property
    def batch_size(self) -> int:
        """Examples of an update."""
        return self._setting.batch_size

    @property
    def clip_grad_norm(self) -> float | None:
        """Norm that gradients are clipped to; None for none. ``torch_optimizer`` sees to it."""
        return self._setting.clip_grad_norm

    @property
    def seed(self) -> int:
        """The trial's seed, that of its training."""
        return self._seed

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``: where the trial is to train."""
        return self._device

    def torch_optimizer(
        self,
        parameters: nn.Module | Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
        updates_per_epoch: int,
    ) -> Optimizer:
        """A real optimizer of torch.optim, or of the task's own code, as the sweep file says.

        Its ``step()`` carries warm-up, schedule and ``clip_grad_norm`` along, and a schedule that steps once
        an epoch steps after each yield; so a loop only calls ``step()``, ``updates_per_epoch`` times an
        epoch. Where it is asked for more than one, learning rate and momentum of the first are recorded.
        Raises ScheduleRefused, TypeError and ValueError.
        """
        named = _named(parameters)
        if isinstance(updates_per_epoch, bool) or not isinstance(updates_per_epoch, int):
            raise TypeError(f"updates_per_epoch is {updates_per_epoch!r}, not a whole number")
        if updates_per_epoch < 1:
            raise ValueError(f"updates_per_epoch is {updates_per_epoch}: an epoch has at least one update")
        horizon = Horizon(
            epochs=self._epochs, updates_per_epoch=updates_per_epoch, warmup_epochs=self.warmup_epochs
        )
        optimization = Optimization(self._setting, horizon, named, *self._own_code)
        self._made.append(LoopOptimizer(optimization, self._setting, horizon))
        return optimization.optimizer


def optimizers_of(setting: LoopSetting) -> tuple[LoopOptimizer, ...]:
    """What ``torch_optimizer`` of ``setting`` has made so far. For us, not for loops."""
    return tuple(setting._made)


def _named(parameters: object) -> list[tuple[str, nn.Parameter]]:
    given = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
    if isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise TypeError(
            f"torch_optimizer() got a value of type {type(given).__name__}, wants {_WANTED_PARAMETERS}"
        )
    named = [item if isinstance(item, tuple) and len(item) == 2 else ("", item) for item in given]
    for _, parameter in named:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"torch_optimizer() got {type(parameter).__name__}s, wants {_WANTED_PARAMETERS}")
    if not named:
        raise ValueError(f"torch_optimizer() got no parameters, wants {_WANTED_PARAMETERS}")
    return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What an epoch's updates showed beside their losses."""

    step: int  # updates made so far
    lr: float  # of the last update
    momentum: float | None
    peak_lr: float  # largest of the epoch
    grad_norm: float  # of the last update, before clipping; NaN where it was not seen


class LoopOptimizer:
    """One optimizer that a loop trains with, and what its hooks see."""

    def __init__(self, optimization: Optimization, setting: Setting, horizon: Horizon) -> None:
        """Watch the optimizer's ``step()``; clip gradients there where the setting says so."""
        self._optimization = optimization
        self._setting = setting
        self._horizon = horizon
        self._made = 0
        self._of_epoch = 0
        self._norm: Tensor | None = None
        optimization.optimizer.register_step_pre_hook(self._before_step)
        optimization.optimizer.register_step_post_hook(self._after_step)

    def end_epoch(self, metrics: Mapping[str, float]) -> None:
        """Step a schedule that steps once an epoch, telling it the metric it watches."""
        self._optimization.end_epoch(metrics)

    def shown(self, epoch: int) -> Shown:
        """What ``epoch`` (from 1) showed, once it has ended; forgets it.

        Raises TaskRefused where a schedule or warm-up counts updates, and the epoch had others than told.
        """
        lr, momentum = self._optimization.rates()
        group = self._optimization.optimizer.param_groups[0]
        made, norm = self._of_epoch, self._norm
        self._of_epoch, self._norm = 0, None
        self._refuse_miscount(epoch, made)
        return Shown(
            step=self._made,
            lr=float(lr[-1]) if len(lr) else float(group["lr"]),
            momentum=momentum_of(group) if momentum is None else float(momentum[-1]),
            peak_lr=float(lr.max()) if len(lr) else float(group["lr"]),
            grad_norm=math.nan if norm is None else float(norm),
        )

    def _refuse_miscount(self, epoch: int, made: int) -> None:
        told = self._horizon.updates_per_epoch
        counts = self._setting.schedule.every != "epoch" or epoch <= self._setting.warmup_epochs
        if counts and not FEWEST_UPDATES * told <= made <= told:
            raise TaskRefused(
                f"epoch {epoch} made {made} updates, and torch_optimizer() was told updates_per_epoch={told}",
                "the number of step() calls of an epoch: the schedule or warm-up counts them",
            )

    def _before_step(
        self, _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Look at the gradients now, or, where ``step`` is given a closure that computes them, after it."""
        if len(args) > 1 and args[1] is not None:
            return (args[0], self._then_look(args[1]), *args[2:]), kwargs
        if kwargs.get("closure") is not None:
            return args, {**kwargs, "closure": self._then_look(kwargs["closure"])}
        self._look_at_gradients()
        return None

    def _then_look(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def closure_and_look() -> Any:
            loss = closure()
            self._look_at_gradients()
            return loss

        return closure_and_look

    @torch.no_grad()
    def _look_at_gradients(self) -> None:
        """Clip them, and note their norm, which costs time, at the epoch's last update only."""
        clip = self._setting.clip_grad_norm
        last = self._of_epoch + 1 == self._horizon.updates_per_epoch
        if clip is None and not last:
            return
        groups = self._optimization.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        if clip is not None:
            self._norm = clip_grad_norm_(parameters, clip)
        else:
            self._norm = get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _after_step(self, *_: object) -> None:
        self._made += 1
        self._of_epoch += 1
