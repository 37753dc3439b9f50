"""The search space: everything a sweep file says, checked, as one frozen value.

Conditional by construction: :meth:`SearchSpace.draw` asks for a choice first and only then for the
settings which that choice brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from search_spaces.catalogue import Suppression
from search_spaces.confirming import Confirm
from search_spaces.limits import Limits, Terminator
from search_spaces.range_test import RangeTest
from search_spaces.ranges import Choice, Effective, Fixed, Numeric, Range, Tuple, Value, learning_rate
from search_spaces.settings import Schedule, Setting
from search_spaces.starts import StartPoint


class Choose(Protocol):
    """Picks a value for a named range: a number for a numeric one, an option's index for a choice."""

    def __call__(self, name: str, range_: Numeric | Choice) -> Value:
        """Value of the range named ``name`` (unique within the space)."""
        ...


_BATCH_SIZE = Fixed(value=32)
_NO_CLIPPING = Fixed(value=None)
BIAS_LR = "bias_lr"
"""Our own argument of every optimizer: the learning rate of biases and norms, as a group of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a trial is judged by."""

    name: str
    goal: str  # minimize | maximize


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruner:
    """An Optuna pruner by our short name, with Optuna's own arguments."""

    name: str = "none"
    arguments: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpace:
    """One optimizer of the file with a range for each argument named there."""

    name: str
    label: str  # unique in the file: the class name, with #2 ... where a class is listed again
    arguments: Mapping[str, Range]
    default_momentum: float = 0.0  # PyTorch's own, where the file names no momentum


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpace:
    """One schedule of the file with a range for each argument named there."""

    name: str
    label: str  # unique in the file; of a nested one: its parent's, its place there, its class
    arguments: Mapping[str, Range | tuple[ScheduleSpace, ...]] = field(default_factory=dict)
    every: str = "epoch"  # epoch | step | fraction; a nested schedule has its parent's
    watch: str | None = None
    suppresses: tuple[Suppression, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """A sweep file, checked. Defaults are those of the file format."""

    name: str
    task: str
    metric: Metric
    epochs: int
    optimizers: tuple[OptimizerSpace, ...]
    trials: int  # settings
    schedules: tuple[ScheduleSpace, ...] = (ScheduleSpace(name="constant", label="constant"),)
    branches: bool = False  # every schedule is tried for each proposal; nothing is open in them then
    task_arguments: Mapping[str, Range] = field(default_factory=dict)
    batch_size: Range = _BATCH_SIZE
    warmup_epochs: int = 0
    seed: int = 0
    seeds: tuple[int, ...] = (0,)
    concurrency: int = 1
    sampler: str = "tpe"
    sampler_arguments: Mapping[str, Value] = field(default_factory=dict)  # of a user's own
    start: tuple[StartPoint, ...] = ()  # proposed first
    pruner: Pruner = field(default_factory=Pruner)
    budget: Limits = field(default_factory=Limits)
    terminator: Terminator = field(default_factory=Terminator)
    warm_start: str | None = None  # id or name of the sweep whose settings the sampler is told of first
    order: str = "rounds"
    execution: str = "auto"
    device: str = "auto"
    clip_grad_norm: Range = _NO_CLIPPING
    precision: str = "auto"  # float32 | tf32 | bf16; auto: as the task says
    confirm: Confirm | None = None  # whether and how its leaders are trained again with fresh seeds
    forks: bool = True  # whether trials that begin alike share their training until their schedules part
    range_test: RangeTest | None = None  # of the learning rate, before the sweep begins

    def draw(self, choose: Choose) -> Setting:
        """One setting. ``choose`` is asked in a fixed order: what to use first, then its arguments."""
        optimizer = self.optimizers[self._alternative("optimizer", len(self.optimizers), choose)]
        schedule = self.schedules[self._alternative("schedule", len(self.schedules), choose)]
        schedule_setting = draw_schedule(schedule, schedule.label, choose)
        suppressed = suppressed_settings(schedule, schedule_setting)
        if "lr" in suppressed:
            suppressed |= {BIAS_LR}
        arguments = _draw_arguments(optimizer, suppressed, choose)
        bias_lr = arguments.pop(BIAS_LR, "same")
        return Setting(
            optimizer=optimizer.name,
            arguments=arguments,
            schedule=schedule_setting,
            warmup_epochs=self.warmup_epochs,
            batch_size=int(str(_draw(self.batch_size, "batch_size", choose))),
            task_arguments={
                name: _draw(range_, f"task.{name}", choose) for name, range_ in self.task_arguments.items()
            },
            clip_grad_norm=_number(_draw(self.clip_grad_norm, "clip_grad_norm", choose)),
            two_groups=BIAS_LR in optimizer.arguments,
            bias_lr=None if bias_lr == "same" else _number(bias_lr),
        )

    def columns(self) -> tuple[str, ...]:
        """Names of the setting's columns in CSV and MLflow, in the file's order."""
        names = [name for optimizer in self.optimizers for name in optimizer.arguments]
        names += [f"schedule.{name}" for schedule in self.schedules for name in schedule.arguments]
        others = {"batch_size": self.batch_size, "clip_grad_norm": self.clip_grad_norm}
        others |= {f"task.{name}": range_ for name, range_ in self.task_arguments.items()}
        names += [name for name, range_ in others.items() if not isinstance(range_, Fixed)]
        return tuple(dict.fromkeys(names))

    @staticmethod
    def _alternative(name: str, count: int, choose: Choose) -> int:
        if count == 1:
            return 0
        return int(str(choose(name, Choice(options=tuple(Fixed(value=index) for index in range(count))))))


def _draw_arguments(
    optimizer: OptimizerSpace, suppressed: frozenset[str], choose: Choose
) -> dict[str, Value]:
    """The optimizer's arguments in the file's order; then what hangs on the momentum among them."""
    by_effect = False

    def noting(name: str, range_: Numeric | Choice) -> Value:
        nonlocal by_effect
        by_effect = by_effect or isinstance(range_, Effective)
        return choose(name, range_)

    arguments = {
        name: _draw(range_, f"{optimizer.label}.{name}", noting)
        for name, range_ in without_suppressed(optimizer.arguments, suppressed).items()
    }
    momentum = arguments.get("momentum", optimizer.default_momentum)
    if by_effect:
        arguments["lr"] = learning_rate(float(str(arguments["lr"])), float(str(momentum)))
    if arguments.get("nesterov") and "momentum" not in suppressed and not momentum:
        arguments["nesterov"] = False
    return arguments


def without_suppressed(arguments: Mapping[str, Range], suppressed: frozenset[str]) -> dict[str, Range]:
    """The ranges that are left of an optimizer's where the schedule sets these settings itself.

    ``betas`` keeps its later items; the first, which is momentum in the Adam family, becomes null.
    """
    kept = {name: range_ for name, range_ in arguments.items() if name not in suppressed}
    if "momentum" in suppressed and "betas" in kept:
        kept["betas"] = _without_first(kept["betas"])
    return kept


def _without_first(range_: Range) -> Range:
    if isinstance(range_, Tuple):
        return Tuple(items=(Fixed(value=None), *range_.items[1:]))
    if isinstance(range_, Fixed) and isinstance(range_.value, tuple):
        return Fixed(value=(None, *range_.value[1:]))
    if isinstance(range_, Choice):
        options = tuple(_without_first(option) for option in range_.options)
        # Only one without ranges may stand for all: a range is named by the option that it stands in.
        same = isinstance(options[0], Fixed) and all(option == options[0] for option in options)
        return options[0] if same else Choice(options=options)
    return range_


def _draw(range_: Range, name: str, choose: Choose) -> Value:
    if isinstance(range_, Fixed):
        return range_.value
    if isinstance(range_, Choice):
        index = int(str(choose(name, range_)))
        return _draw(range_.options[index], f"{name}[{index}]", choose)
    if isinstance(range_, Tuple):
        return tuple(_draw(item, f"{name}.{index}", choose) for index, item in enumerate(range_.items))
    return choose(name, range_)


def _number(value: Value) -> float | None:
    return None if value is None else float(str(value))


def draw_schedule(space: ScheduleSpace, label: str, choose: Choose) -> Schedule:
    """One schedule of ``space``; ``label`` goes before the names that ``choose`` is asked for."""
    arguments: dict[str, Any] = {}
    for name, range_ in space.arguments.items():
        if isinstance(range_, tuple):
            arguments[name] = tuple(
                draw_schedule(nested, f"{label}.{index}.{nested.name}", choose)
                for index, nested in enumerate(range_)
            )
        else:
            arguments[name] = _draw(range_, f"{label}.{name}", choose)
    return Schedule(name=space.name, arguments=arguments, every=space.every, watch=space.watch)


def suppressed_settings(space: ScheduleSpace, drawn: Schedule) -> frozenset[str]:
    """Names of the optimizer's settings that the drawn schedule sets itself."""
    names = {
        rule.setting
        for rule in space.suppresses
        if rule.unless_false is None or drawn.arguments.get(rule.unless_false, rule.default)
    }
    for nested, setting in zip(_nested(space), drawn.nested(), strict=True):
        names |= suppressed_settings(nested, setting)
    return frozenset(names)


def may_draw(space: ScheduleSpace, drawn: Schedule) -> bool:
    """Whether the drawn schedule may have come from this one of the file: classes, nested ones too, agree."""
    parts, drawn_parts = _nested(space), drawn.nested()
    return (
        space.name == drawn.name
        and len(parts) == len(drawn_parts)
        and all(may_draw(part, drawn_part) for part, drawn_part in zip(parts, drawn_parts, strict=True))
    )


def _nested(space: ScheduleSpace) -> tuple[ScheduleSpace, ...]:
    return tuple(item for value in space.arguments.values() if isinstance(value, tuple) for item in value)


def dimensions(space: SearchSpace) -> dict[str, Numeric | Choice]:
    """Every range that :meth:`SearchSpace.draw` may ask for, by name: the axes of the whole space."""
    found: dict[str, Numeric | Choice] = {}
    for name, count in (("optimizer", len(space.optimizers)), ("schedule", len(space.schedules))):
        if count > 1:
            found[name] = Choice(options=tuple(Fixed(value=index) for index in range(count)))
    found |= schedule_dimensions(space)
    for optimizer in space.optimizers:
        for name, range_ in optimizer.arguments.items():
            _collect(range_, f"{optimizer.label}.{name}", found)
    _collect(space.batch_size, "batch_size", found)
    _collect(space.clip_grad_norm, "clip_grad_norm", found)
    for name, range_ in space.task_arguments.items():
        _collect(range_, f"task.{name}", found)
    return found


def _collect(range_: Range, name: str, found: dict[str, Numeric | Choice]) -> None:
    if isinstance(range_, Choice):
        found[name] = range_
        for index, option in enumerate(range_.options):
            _collect(option, f"{name}[{index}]", found)
    elif isinstance(range_, Tuple):
        for index, item in enumerate(range_.items):
            _collect(item, f"{name}.{index}", found)
    elif not isinstance(range_, Fixed):
        found[name] = range_


def schedule_dimensions(space: SearchSpace) -> dict[str, Numeric | Choice]:
    """The ranges within the schedules, by name; which schedule it is is not among them."""
    found: dict[str, Numeric | Choice] = {}
    for schedule in space.schedules:
        _collect_schedule(schedule, schedule.label, found)
    return found


def _collect_schedule(space: ScheduleSpace, label: str, found: dict[str, Numeric | Choice]) -> None:
    for name, range_ in space.arguments.items():
        if isinstance(range_, tuple):
            for index, nested in enumerate(range_):
                _collect_schedule(nested, f"{label}.{index}.{nested.name}", found)
        else:
            _collect(range_, f"{label}.{name}", found)
