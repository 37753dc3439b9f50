"""Trainings drawn by hypothesis: a schedule class and an optimizer class with all their arguments."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch.optim import Optimizer, lr_scheduler

from search_spaces.settings import Schedule, Setting
from tests.unit.plain_schedules import Case, plain_path, plain_plateau
from tests.unit.rules_for_tests import ARGUMENTS as RULE_ARGUMENTS
from tests.unit.schedules_for_tests import ARGUMENTS as SCHEDULE_ARGUMENTS
from tests.unit.schedules_for_tests import CYCLING, schedules

EPOCHS, UPDATES, BATCH = 10, 20, 8  # 200 updates, 20 an epoch
SCHEDULES = ("constant", *SCHEDULE_ARGUMENTS)
_STRETCH = 17  # ticks for one: a schedule that steps with every update is laid out on more of them

_switches = st.booleans()
_decays = st.just(0.0) | st.floats(1e-4, 0.1)
_not_simplest = st.integers(0, 2**16).filter(bool)
_betas = st.tuples(st.floats(0.0, 0.99), st.floats(0.5, 0.9999))
_SOLO_ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Adadelta": {
        "rho": st.floats(0.5, 0.99),
        "eps": st.sampled_from([1e-8, 1e-6, 1e-3]),
        "weight_decay": _decays,
    },
    "Adafactor": {
        "beta2_decay": st.floats(-1.0, -0.3),
        "eps": st.tuples(st.none() | st.just(1e-20), st.floats(1e-4, 1e-2)),
        "d": st.floats(0.5, 2.0),
        "weight_decay": _decays,
    },
    "Adamax": {"betas": _betas, "eps": st.sampled_from([1e-8, 1e-3]), "weight_decay": _decays},
    "ASGD": {
        "lambd": st.floats(1e-5, 1e-2),
        "alpha": st.floats(0.5, 1.0),
        "t0": st.sampled_from([1e6, 100.0, 0.0]),  # updates before averaging
        "weight_decay": _decays,
    },
    "RAdam": {
        "betas": _betas,
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": _decays,
        "decoupled_weight_decay": _switches,
    },
    "Rprop": {
        "etas": st.tuples(st.floats(0.3, 0.9), st.floats(1.05, 1.5)),
        "step_sizes": st.tuples(st.floats(1e-7, 1e-4), st.floats(0.01, 0.1)),
    },
}
OPTIMIZER_ARGUMENTS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    **RULE_ARGUMENTS,
    **_SOLO_ARGUMENTS,
}
"""What is drawn for each class beside learning rate, momentum and maximize."""

SOLO = tuple(_SOLO_ARGUMENTS)
"""Optimizer classes that are not stacked."""
OPTIMIZER_SCHEDULES = ("constant", "StepLR", "CyclicLR")
"""Schedules that every optimizer class is trained under; the last cycles momentum where there is one."""

_SCALES = {"SGD": 0.02, "ASGD": 0.02, "Adagrad": 0.05, "Adadelta": 1.0}
_SCALE = 0.005  # of the others, whose steps do not shrink with the gradient
_RATES = ("base_lr", "max_lr", "eta_min", "min_lr", "eps")  # eps: the least change that a plateau makes
_COUNTS = (
    "step_size",
    "milestones",
    "total_iters",
    "T_max",
    "T_0",
    "step_size_up",
    "step_size_down",
    "decay_start",
    "decay_length",
    "total_steps",
    "steps_per_epoch",
)


def scale_of(optimizer: str) -> float:
    """A learning rate that trains; drawn ones are up to twice that."""
    return _SCALES.get(optimizer, _SCALE)


@st.composite
def trainings(draw: st.DrawFn, schedule_name: str, optimizer: str, two_groups: bool) -> Setting:
    """A setting of both classes that PyTorch trains."""
    return draw(_settings(schedule_name, optimizer, two_groups).filter(is_trained))


@st.composite
def _settings(draw: st.DrawFn, schedule_name: str, optimizer: str, two_groups: bool) -> Setting:
    schedule = draw(_fitted_schedules(schedule_name, optimizer))
    arguments = draw(_optimizer_arguments(optimizer, schedule))
    rate = st.floats(0.01, 2.0).map(lambda drawn: drawn * scale_of(optimizer))
    if not any(part.name in CYCLING for part in parts_of(schedule)):
        arguments["lr"] = draw(rate)
    return Setting(
        optimizer=optimizer,
        arguments=arguments,
        schedule=schedule,
        batch_size=BATCH,
        warmup_epochs=draw(st.sampled_from([0, 1, 2])),
        clip_grad_norm=draw(st.none() | st.floats(0.05, 2.0)),
        two_groups=two_groups,
        bias_lr=draw(st.none() | rate) if two_groups and "lr" in arguments else None,
    )


@st.composite
def _fitted_schedules(draw: st.DrawFn, name: str, optimizer: str) -> Schedule:
    if name == "constant":
        return Schedule()
    everies = {"ReduceLROnPlateau": ["epoch"], "CosineAnnealingWarmRestarts": ["epoch", "step", "fraction"]}
    every = draw(st.sampled_from(everies.get(name, ["epoch", "step"])))
    schedule = fitted(draw(schedules(name, every)), scale_of(optimizer))
    if name != "ReduceLROnPlateau":
        return schedule
    watch = draw(st.sampled_from([None, "val_error", "train_loss"]))
    return Schedule(name=name, arguments=schedule.arguments, watch=watch)


def fitted(schedule: Schedule, scale: float) -> Schedule:
    """Its learning rates to the optimizer's, its ticks to the length of a training."""
    stretch = _STRETCH if schedule.every == "step" else 1

    def argument(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(argument(name, item) for item in value)
        if isinstance(value, Schedule):
            return fitted(value, scale)
        if name in _RATES:
            return value * scale
        if name == "gamma" and schedule.name in ("ExponentialLR", "CyclicLR"):
            return value ** (1 / stretch)
        return value * stretch if name in _COUNTS and value is not None else value

    arguments = {name: argument(name, value) for name, value in schedule.arguments.items()}
    return Schedule(name=schedule.name, arguments=arguments, every=schedule.every, watch=schedule.watch)


@st.composite
def _optimizer_arguments(draw: st.DrawFn, optimizer: str, schedule: Schedule) -> dict[str, Any]:
    """Any of the class's arguments left out, now and then; without the momentum that the schedule sets."""
    drawn = dict(OPTIMIZER_ARGUMENTS[optimizer])
    drawn["maximize"] = st.sampled_from([False] * 7 + [True])
    arguments = draw(st.fixed_dictionaries({}, optional=drawn))
    momentum = st.one_of(st.floats(0.01, 0.95), st.floats(0.5, 0.95), st.just(0.0))
    cycles = any(_cycles_momentum(part) for part in parts_of(schedule))
    if optimizer in ("SGD", "RMSprop") and not cycles:
        arguments["momentum"] = draw(momentum)
    if optimizer == "SGD" and arguments.get("momentum") == 0.0:
        arguments.pop("nesterov", None)
    if arguments.get("nesterov"):
        arguments.pop("dampening", None)
    if optimizer in ("Adam", "AdamW", "NAdam"):
        arguments["betas"] = (draw(momentum), draw(st.floats(0.5, 0.9999)))
    return arguments


def parts_of(schedule: Schedule) -> list[Schedule]:
    """The schedule and all that it is made of."""
    return [schedule, *(part for nested in schedule.nested() for part in parts_of(nested))]


def _cycles_momentum(schedule: Schedule) -> bool:
    return schedule.name in CYCLING and schedule.arguments.get("cycle_momentum", True) is True


def is_trained(setting: Setting) -> bool:
    """Whether PyTorch trains it from the first update to the last."""
    if setting.schedule.name == "constant":
        return True
    case = Case(setting=setting, epochs=EPOCHS, updates=UPDATES)
    plateau = setting.schedule.name == "ReduceLROnPlateau"
    return (plain_plateau(case, [1.0] * EPOCHS) if plateau else plain_path(case)) is not None


def drawn(schedule: str, optimizer: str, *, two_groups: bool, round_: int) -> Setting:
    """One drawn setting, the same at every call.

    Hypothesis begins with the simplest of all, which says little: the filter lets it pass over that.
    """
    found: list[Setting] = []
    number = zlib.crc32(f"{schedule} {optimizer} {two_groups} {round_}".encode())

    @seed(number)
    @settings(
        max_examples=1,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_not_simplest.flatmap(lambda _: trainings(schedule, optimizer, two_groups)))
    def draw(setting: Setting) -> None:
        found.append(setting)

    draw()
    return found[-1]


def schedule_classes() -> list[str]:
    """Every schedule class that this PyTorch has, and ours."""
    return [name for name in (*lr_scheduler.__all__, "WSD") if name != "LRScheduler"]


def optimizer_classes() -> list[str]:
    """Every optimizer class that this PyTorch has; three want other things than a step after a gradient."""
    classes = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    named = [name for name, kind in classes.items() if issubclass(kind, Optimizer)]
    return [name for name in named if name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")]
