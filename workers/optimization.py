"""Optimization: the real torch.optim and torch.optim.lr_scheduler objects of one trial, and when they step.

What a sweep file says about optimizer, schedule and warm-up is carried out here, by PyTorch's own classes.
Solo training and the users' own loops step these objects; populations index tables written down from them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from search_spaces.settings import Schedule, Setting
from workers.compiler_import import without_compiler
from workers.update_hooks import watch_updates
from workers.wsd import WSD

Rates = npt.NDArray[np.float64]
Functions = Mapping[str, Callable[[int], float]]
Optimizers = Mapping[str, type[Optimizer]]

HORIZON_ARGUMENTS = ("T_max", "total_steps")
OWN_SCHEDULES: Mapping[str, type[Any]] = {"WSD": WSD}  # beside those of torch.optim.lr_scheduler
_PLACEHOLDER_MOMENTUM = 5e-324  # above 0, as nesterov wants it, and nothing that a schedule sets
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what PyTorch's classes raise over arguments


class ScheduleRefused(ValueError):
    """PyTorch, or the rule that a schedule changes learning rate and momentum only, refuses a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The length of a training: what schedules are laid out on."""

    epochs: int
    updates_per_epoch: int
    warmup_epochs: int = 0

    @property
    def warmup_updates(self) -> int:
        """Updates before the schedule's clock starts."""
        return self.warmup_epochs * self.updates_per_epoch

    def ticks(self, every: str) -> int:
        """Values the schedule takes from its start to the end of training."""
        epochs = self.epochs - self.warmup_epochs
        return epochs if every == "epoch" else epochs * self.updates_per_epoch


def takes_metric(schedule: Schedule) -> bool:
    """Whether the schedule's ``step`` is told a metric, as ReduceLROnPlateau's is."""
    if schedule.name == "constant":
        return False
    return "metrics" in inspect.signature(schedule_class(schedule.name).step).parameters


def schedule_class(name: str) -> type[Any]:
    """The class called ``name``: of ours, else of torch.optim.lr_scheduler."""
    found: type[Any] = OWN_SCHEDULES.get(name) or getattr(lr_scheduler, name)
    return found


def construct(
    setting: Setting,
    horizon: Horizon,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    functions: Functions | None = None,
    optimizers: Optimizers | None = None,
) -> tuple[Optimizer, Any]:
    """The real torch.optim optimizer and lr_scheduler objects; the latter is None for ``constant``.

    ``functions`` and ``optimizers`` are those of the task's own code. Where the schedule sets momentum
    itself, the optimizer is built with the schedule's first momentum. Raises ScheduleRefused with PyTorch's
    own sentence.
    """
    try:
        kind = optimizer_class(setting.optimizer, optimizers)
        momentum = _first_momentum(kind, setting, horizon, functions)
        optimizer = _optimizer(kind, setting, list(parameters), momentum)
        return optimizer, _schedule(setting.schedule, optimizer, horizon, functions or {})
    except REFUSALS as error:
        raise ScheduleRefused(sentence_of(error)) from error


def optimizer_class(name: str, optimizers: Optimizers | None = None) -> type[Optimizer]:
    """The class that the task's own code calls ``name``, else that of torch.optim."""
    found: type[Optimizer] = (optimizers or {}).get(name) or getattr(torch.optim, name)
    return found


def parameter_groups(setting: Setting, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Parameters as torch.optim takes them: one group, or weights apart from biases and norms.

    The second group takes no weight decay and has ``setting.bias_lr``, or the first one's rate.
    """
    everything = list(named)
    if not setting.two_groups:
        return [{"params": [parameter for _, parameter in everything]}]
    second: dict[str, Any] = {"params": [p for name, p in everything if is_bias_or_norm(name, p.shape)]}
    second["weight_decay"] = 0.0
    if setting.bias_lr is not None:
        second["lr"] = setting.bias_lr
    return [{"params": [p for name, p in everything if not is_bias_or_norm(name, p.shape)]}, second]


def dummy_groups(setting: Setting) -> list[dict[str, Any]]:
    """As :func:`parameter_groups`, of one number a group."""
    names = ("weight", "bias") if setting.two_groups else ("weight",)
    shapes = {"weight": (1, 1), "bias": (1,)}
    return parameter_groups(setting, [(name, nn.Parameter(torch.zeros(shapes[name]))) for name in names])


def is_bias_or_norm(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter belongs to the group without weight decay: a bias, or anything of one dimension."""
    return len(shape) <= 1 or name.endswith("bias")


def momentum_of(group: Mapping[str, Any]) -> float | None:
    """Momentum in force in a parameter group: ``momentum``, or ``betas[0]`` in the Adam family."""
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def step_schedule(schedule: Any, every: str, update: int, updates_per_epoch: int) -> None:
    """One tick of the schedule's clock after its ``update``-th update (from 1)."""
    if every == "fraction":
        epoch, index = divmod(update - 1, updates_per_epoch)
        schedule.step(epoch + index / updates_per_epoch)  # the sum that PyTorch's documentation steps with
    else:
        schedule.step()


def _optimizer(
    kind: type[Optimizer], setting: Setting, parameters: list[Any], first_momentum: float | None
) -> Optimizer:
    arguments: dict[str, Any] = dict(setting.arguments)
    if first_momentum is not None and _leaves_out_beta(setting):
        arguments["betas"] = (first_momentum, *arguments["betas"][1:])
    elif first_momentum is not None:
        arguments["momentum"] = first_momentum
    with without_compiler(kind.add_param_group):
        return kind(parameters, **arguments)


def _leaves_out_beta(setting: Setting) -> bool:
    """Whether betas[0] is left to the schedule."""
    betas = setting.arguments.get("betas")
    return isinstance(betas, tuple) and bool(betas) and betas[0] is None


def _first_momentum(
    kind: type[Optimizer], setting: Setting, horizon: Horizon, functions: Functions | None
) -> float | None:
    """Momentum that the schedule sets at its start, or None where it leaves momentum alone."""
    parameters = inspect.signature(kind).parameters
    wanted = "momentum" in parameters and "momentum" not in setting.arguments
    if setting.schedule.name == "constant" or not (wanted or _leaves_out_beta(setting)):
        return None
    dummy = _optimizer(kind, setting, dummy_groups(setting), _PLACEHOLDER_MOMENTUM)
    _schedule(setting.schedule, dummy, horizon, functions or {})
    momentum = momentum_of(dummy.param_groups[0])
    return None if momentum == _PLACEHOLDER_MOMENTUM else momentum


def _schedule(schedule: Schedule, optimizer: Optimizer, horizon: Horizon, functions: Functions) -> Any:
    if schedule.name == "constant":
        return None
    kind = schedule_class(schedule.name)
    signature = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {}
    for name, value in schedule.arguments.items():
        if name == "schedulers":
            arguments[name] = [_schedule(item, optimizer, horizon, functions) for item in schedule.nested()]
        elif name in signature and "Callable" in str(signature[name].annotation):
            arguments[name] = _with_functions(value, functions)
        else:
            arguments[name] = list(value) if isinstance(value, tuple) else value
    for name in HORIZON_ARGUMENTS:
        if name in signature and name not in arguments and not {"epochs", "steps_per_epoch"} & set(arguments):
            arguments[name] = horizon.ticks(schedule.every)
    if "optimizer" in signature:
        arguments["optimizer"] = optimizer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**arguments)


def _with_functions(value: Any, functions: Functions) -> Any:
    """The task's functions for their names, alone or in a list; anything else as it is."""
    if isinstance(value, tuple):
        return [_with_functions(item, functions) for item in value]
    if isinstance(value, str) and value not in functions:
        raise ScheduleRefused(f"the task has no function '{value}'")
    return functions[value] if isinstance(value, str) else value


class Optimization:
    """Optimizer and schedule of one trial. The optimizer's own ``step`` carries warm-up and schedule along.

    So any loop that calls ``optimizer.step()`` once an update trains as the sweep file says, if it says
    :meth:`end_epoch` at the end of each epoch.
    """

    def __init__(
        self,
        setting: Setting,
        horizon: Horizon,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        functions: Functions | None = None,
        optimizers: Optimizers | None = None,
    ) -> None:
        """Build both objects over the parameters. Raises ScheduleRefused."""
        self._plan = setting.schedule
        self._horizon = horizon
        groups = parameter_groups(setting, named_parameters)
        self.optimizer, self._schedule = construct(setting, horizon, groups, functions, optimizers)
        self._scheduled_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._updates = 0
        self._lr: list[float] = []
        self._momentum: list[float | None] = []
        self.in_force: list[tuple[float, float | None]] = []
        """Learning rate and momentum of each parameter group at the last update."""
        watch_updates(self.optimizer, self._before_update, self._after_update)

    def rates(self) -> tuple[Rates, Rates | None]:
        """Learning rate and momentum of the first group at each update since the last call: (updates,)."""
        lr, momentum = np.array(self._lr), [number for number in self._momentum if number is not None]
        self._lr, self._momentum = [], []
        return lr, np.array(momentum) if momentum else None

    def end_epoch(self, metrics: Mapping[str, float]) -> None:
        """Step a schedule that steps once an epoch, telling it the metric it watches."""
        after_warmup = self._updates > self._horizon.warmup_updates
        if self._schedule is None or self._plan.every != "epoch" or not after_warmup:
            return
        if takes_metric(self._plan):
            self._schedule.step(metrics[self._plan.watch or "val_loss"])
        else:
            self._schedule.step()

    def _before_update(self) -> None:
        update, warmup = self._updates + 1, self._horizon.warmup_updates
        if update <= warmup:
            for group, rate in zip(self.optimizer.param_groups, self._scheduled_rates, strict=True):
                group["lr"] = rate * update / warmup
        self.in_force = [(float(group["lr"]), momentum_of(group)) for group in self.optimizer.param_groups]
        lr, momentum = self.in_force[0]
        self._lr.append(lr)
        self._momentum.append(momentum)

    def _after_update(self) -> None:
        self._updates += 1
        warmup = self._horizon.warmup_updates
        if self._updates == warmup:
            for group, rate in zip(self.optimizer.param_groups, self._scheduled_rates, strict=True):
                group["lr"] = rate
        elif self._updates > warmup and self._schedule is not None and self._plan.every != "epoch":
            updates_per_epoch = self._horizon.updates_per_epoch
            step_schedule(self._schedule, self._plan.every, self._updates - warmup, updates_per_epoch)


def sentence_of(error: BaseException) -> str:
    """What PyTorch said, on one line, and the kind of error where that alone would say too little."""
    said, kind = " ".join(str(error).split()), type(error).__name__
    if said:
        return f"{kind}: {said}" if isinstance(error, LookupError) else said
    where = "as where a SequentialLR or ChainedScheduler is to begin at a milestone"
    return f"{kind}, with no word of why{f', {where}' if isinstance(error, NotImplementedError) else ''}"
