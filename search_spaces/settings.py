"""Settings: one concrete point of a search space, with everything a trial needs to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.ranges import Value

PopulationKey = tuple[tuple[tuple[str, Value], ...], int, str, bool]
"""Task arguments, batch size, optimizer class, and whether biases and norms are a group of their own."""

Beginning = tuple[PopulationKey, tuple[tuple[str, Value], ...], int, float | None, float | None]
"""Population, optimizer arguments, warm-up, clipping, and the learning rate of biases and norms."""

_OWN_KEYS = frozenset(
    {
        "optimizer",
        "schedule",
        "schedule.every",
        "schedule.watch",
        "warmup.epochs",
        "batch_size",
        "clip_grad_norm",
        "two_groups",
        "bias_lr",
    }
)
"""Keys of a setting's flat form that are no argument of its optimizer, schedule or task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule class of PyTorch with its arguments; ``constant`` has none."""

    name: str = "constant"
    arguments: Mapping[str, Value | tuple[Schedule, ...]] = field(default_factory=dict)
    every: str = "epoch"  # epoch | step | fraction; a nested schedule has its parent's
    watch: str | None = None  # metric that a plateau schedule is told

    def nested(self) -> tuple[Schedule, ...]:
        """The schedules that SequentialLR and ChainedScheduler are made of, in order."""
        return tuple(
            item
            for value in self.arguments.values()
            if isinstance(value, tuple)
            for item in value
            if isinstance(item, Schedule)
        )

    def to_plain(self) -> dict[str, Any]:
        """``{"StepLR": {"step_size": 3, ...}}``."""
        return {self.name: {name: _plain(value) for name, value in self.arguments.items()}}

    @staticmethod
    def from_plain(plain: Mapping[str, Any], every: str = "epoch") -> Schedule:
        """Inverse of :meth:`to_plain`, which leaves ``every`` to the caller."""
        ((name, arguments),) = plain.items()
        return Schedule(
            name=name,
            arguments={key: _argument(key, value, every) for key, value in arguments.items()},
            every=every,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Optimizer with its numbers, schedule with its numbers, and what else the file lets vary."""

    optimizer: str  # class of torch.optim
    arguments: Mapping[str, Value]  # of the optimizer; what the schedule suppresses is absent
    schedule: Schedule = field(default_factory=Schedule)
    warmup_epochs: int = 0
    batch_size: int = 32
    task_arguments: Mapping[str, Value] = field(default_factory=dict)
    clip_grad_norm: float | None = None  # gradients of a larger norm are scaled down to it
    two_groups: bool = False  # biases and norms are a group of their own, without weight decay
    bias_lr: float | None = None  # of that group; None: lr, or what the schedule sets

    @property
    def population(self) -> PopulationKey:
        """What trials that can be rows of one population share."""
        task_arguments = tuple(sorted(self.task_arguments.items()))
        return task_arguments, self.batch_size, self.optimizer, self.two_groups

    @property
    def beginning(self) -> Beginning:
        """All but the schedule: trials of one seed that share it train alike as long as their rates agree."""
        arguments = tuple(sorted(self.arguments.items()))
        return self.population, arguments, self.warmup_epochs, self.clip_grad_norm, self.bias_lr

    def to_json(self) -> dict[str, Any]:
        """Flat and reversible: the columns' names as keys, values exact."""
        flat: dict[str, Any] = {"optimizer": self.optimizer, "schedule": self.schedule.name}
        flat |= {name: _plain(value) for name, value in self.arguments.items()}
        flat |= {f"schedule.{name}": _plain(value) for name, value in self.schedule.arguments.items()}
        flat["schedule.every"] = self.schedule.every
        if self.schedule.watch is not None:
            flat["schedule.watch"] = self.schedule.watch
        flat |= {"warmup.epochs": self.warmup_epochs, "batch_size": self.batch_size}
        optional = {"clip_grad_norm": self.clip_grad_norm, "bias_lr": self.bias_lr}
        flat |= {name: value for name, value in optional.items() if value is not None}
        if self.two_groups:
            flat["two_groups"] = True
        return flat | {f"task.{name}": _plain(value) for name, value in self.task_arguments.items()}

    @staticmethod
    def from_json(flat: Mapping[str, Any]) -> Setting:
        """Inverse of :meth:`to_json`."""
        arguments: dict[str, Value] = {}
        schedule_arguments: dict[str, Value | tuple[Schedule, ...]] = {}
        task_arguments: dict[str, Value] = {}
        for key, value in flat.items():
            if key in _OWN_KEYS:
                continue
            if key.startswith("schedule."):
                name = key.removeprefix("schedule.")
                schedule_arguments[name] = _argument(name, value, flat["schedule.every"])
            elif key.startswith("task."):
                task_arguments[key.removeprefix("task.")] = _tuples(value)
            else:
                arguments[key] = _tuples(value)
        return Setting(
            optimizer=flat["optimizer"],
            arguments=arguments,
            schedule=Schedule(
                name=flat["schedule"],
                arguments=schedule_arguments,
                every=flat["schedule.every"],
                watch=flat.get("schedule.watch"),
            ),
            warmup_epochs=flat["warmup.epochs"],
            batch_size=flat["batch_size"],
            task_arguments=task_arguments,
            clip_grad_norm=flat.get("clip_grad_norm"),
            two_groups=flat.get("two_groups", False),
            bias_lr=flat.get("bias_lr"),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_plain()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _argument(name: str, value: Any, every: str) -> Any:
    if name == "schedulers":
        return tuple(Schedule.from_plain(item, every) for item in value)
    return _tuples(value)
