"""What PyTorch and the tasks offer, as a plain value.

``workers`` reads it off PyTorch's own signatures (:mod:`workers.torch_catalogue`); the sweep file is
checked against it without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from search_spaces.ranges import Value


class Kind(StrEnum):
    """What an argument accepts, as its annotation and default say."""

    number = "number"
    integer = "whole number"
    boolean = "true or false"
    text = "name"
    listing = "list"
    schedules = "list of schedules"
    function = "name of a function of the task"
    anything = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a class."""

    name: str
    kinds: tuple[Kind, ...]  # any of these is accepted; (Kind.anything,) where PyTorch does not say
    required: bool = False
    default: Value = None
    names: tuple[str, ...] = ()  # what a name may be, where PyTorch lists it


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """A setting of the optimizer that a schedule sets itself, so that it is not sampled."""

    setting: str  # "lr" or "momentum"
    unless_false: str | None = None  # the schedule's argument that switches this off, such as cycle_momentum
    default: bool = True  # that argument's default


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEntry:
    """A class of torch.optim or torch.optim.lr_scheduler."""

    name: str
    arguments: Mapping[str, Argument]

    def required(self) -> tuple[str, ...]:
        """Names of the arguments without a default."""
        return tuple(argument.name for argument in self.arguments.values() if argument.required)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerEntry(ClassEntry):
    """An optimizer; ``stacked`` where its trials can be rows of a population."""

    stacked: bool = False
    ignored: tuple[str, ...] = ()  # arguments that say how PyTorch computes, not what: foreach, fused ...
    sums_steps: bool = False  # momentum is a sum of steps, so that lr / (1 - momentum) is what they come to


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry(ClassEntry):
    """A schedule class."""

    suppresses: tuple[Suppression, ...] = ()
    horizon: str | None = None  # argument that defaults to the training's length: T_max, total_steps
    every: str = "epoch"  # when it steps unless the file says: "epoch" or "step"
    watches: bool = False  # step() takes a metric, as ReduceLROnPlateau's does
    fractional: bool = False  # step() takes a fractional epoch, as CosineAnnealingWarmRestarts' does


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """A task by its registered name, or by the absolute ``path/to/file.py:Name`` of a user's class."""

    name: str
    summary: str
    arguments: Mapping[str, Argument]
    metrics: tuple[str, ...]  # beside train_loss: val_loss, val_accuracy ...; () where trying it shows them
    functions: tuple[str, ...] = ()  # for LambdaLR and MultiplicativeLR
    paths: tuple[str, ...] = ()  # arguments that name a file or folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All that a sweep file may name."""

    optimizers: Mapping[str, OptimizerEntry]
    schedules: Mapping[str, ScheduleEntry]
    tasks: Mapping[str, TaskEntry]
