"""Schedules drawn by hypothesis with all their arguments, and trainings around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from search_spaces.settings import Schedule, Setting
from tests.unit.plain_schedules import FUNCTIONS, Case

CYCLING = {"OneCycleLR", "CyclicLR"}

_REFUSED_OFTEN = {"explodes", "infinite"}
_FUNCTION = st.sampled_from(
    [name for name in FUNCTIONS if name not in _REFUSED_OFTEN] * 3 + [*_REFUSED_OFTEN]
)
_FUNCTIONS = st.one_of(_FUNCTION, _FUNCTION, st.tuples(_FUNCTION), st.tuples(_FUNCTION, _FUNCTION))
_COUNT = st.integers(0, 9)
_LENGTH = st.integers(0, 19).map(lambda drawn: 0 if drawn == 19 else 1 + drawn % 9)  # 0 is refused: seldom
_RATE = st.sampled_from([0.0, 1e-8, 0.01, 1.0]) | st.floats(1e-5, 2.0)
_RATES = st.one_of(_RATE, _RATE, _RATE, st.tuples(_RATE), st.tuples(_RATE, _RATE))  # a list: one a group
_FRACTION = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)
_MOMENTUM = st.sampled_from([0.0, 0.5, 0.99]) | st.floats(0.0, 0.99)
_MOMENTA = st.one_of(_MOMENTUM, _MOMENTUM, st.tuples(_MOMENTUM), st.tuples(_MOMENTUM, _MOMENTUM))
_FACTOR = st.sampled_from([0.0, 1.0, 1.5]) | st.floats(0.01, 1.2)

ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "LambdaLR": {"lr_lambda": _FUNCTIONS},
    "MultiplicativeLR": {"lr_lambda": _FUNCTIONS},
    "StepLR": {"step_size": _LENGTH, "gamma": _FACTOR},
    "MultiStepLR": {"milestones": st.lists(_COUNT, max_size=4).map(tuple), "gamma": _FACTOR},
    "ConstantLR": {"factor": _FRACTION, "total_iters": _COUNT},
    "LinearLR": {"start_factor": _FRACTION, "end_factor": _FRACTION, "total_iters": _COUNT},
    "ExponentialLR": {"gamma": _FACTOR},
    "PolynomialLR": {"total_iters": _COUNT, "power": st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(0.1, 3.0)},
    "CosineAnnealingLR": {"T_max": _LENGTH, "eta_min": _RATE},
    "CosineAnnealingWarmRestarts": {"T_0": _LENGTH, "T_mult": st.integers(1, 3), "eta_min": _RATE},
    "CyclicLR": {
        "base_lr": _RATES,
        "max_lr": _RATES,
        "step_size_up": _LENGTH,
        "step_size_down": st.none() | _LENGTH,
        "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
        "gamma": _FACTOR,
        "scale_fn": st.none() | _FUNCTION,
        "scale_mode": st.sampled_from(["cycle", "iterations"]),
        "cycle_momentum": st.booleans(),
        "base_momentum": _MOMENTUM,
        "max_momentum": _MOMENTUM,
    },
    "OneCycleLR": {
        "max_lr": _RATES,
        "total_steps": st.integers(5, 40),
        "epochs": st.integers(2, 6),
        "steps_per_epoch": st.integers(1, 6),
        "pct_start": _FRACTION,
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "cycle_momentum": st.booleans(),
        "base_momentum": _MOMENTA,
        "max_momentum": _MOMENTA,
        "div_factor": st.sampled_from([1.0, 0.0]) | st.floats(0.5, 100.0),
        "final_div_factor": st.floats(0.5, 1e5),
        "three_phase": st.booleans(),
    },
    "ReduceLROnPlateau": {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.0, 0.1, 0.5, 1.0]) | st.floats(0.01, 0.99),
        "patience": st.sampled_from([0, 0, 1, 1, 2, 3, 10]),
        "threshold": st.sampled_from([0.0, 1e-4, 1.0]) | st.floats(0.0, 0.5),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 1e-8, 0.01, (0.01,), (0.01, 0.1)]),
        "eps": st.sampled_from([0.0, 1e-8, 0.01]),
    },
    "WSD": {
        "decay_start": st.sampled_from([0, 0, 1, 1, 2, 3, 4, 30]),
        "decay_length": _LENGTH,
        "shape": st.sampled_from(["linear", "cosine", "1-sqrt", "exponential"]),
        "final_factor": st.none() | st.floats(0.01, 1.0) | _FRACTION,
        "total_steps": st.none() | st.integers(5, 40),
    },
    "SequentialLR": {"schedulers": st.nothing(), "milestones": st.nothing()},  # drawn by _sequential
    "ChainedScheduler": {"schedulers": st.nothing()},  # drawn by _chained
}
NESTED = ("SequentialLR", "ChainedScheduler")
SIMPLE = tuple(name for name in ARGUMENTS if name not in (*NESTED, "ReduceLROnPlateau"))
_REQUIRED = {
    "LambdaLR": ("lr_lambda",),
    "MultiplicativeLR": ("lr_lambda",),
    "StepLR": ("step_size",),
    "MultiStepLR": ("milestones",),
    "ExponentialLR": ("gamma",),
    "CosineAnnealingWarmRestarts": ("T_0",),
    "CyclicLR": ("base_lr", "max_lr"),
    "OneCycleLR": ("max_lr",),
    "ReduceLROnPlateau": ("patience",),  # PyTorch's default of 10 outlasts most of these trainings
    "WSD": ("decay_start",),
}


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """A training with a schedule of the class ``name``, ReduceLROnPlateau excepted."""
    every = draw(st.sampled_from(["epoch", "step"]))
    if name == "CosineAnnealingWarmRestarts":
        every = draw(st.sampled_from(["epoch", "step", "fraction"]))
    schedule = draw(schedules(name, every))
    return draw(trainings(schedule, st.integers(1, 7)))


@st.composite
def trainings(draw: st.DrawFn, schedule: Schedule, scheduled_epochs: st.SearchStrategy[int]) -> Case:
    """Optimizer, warm-up and lengths around ``schedule``."""
    optimizer, arguments = draw(_optimizers(schedule))
    warmup_epochs, two_groups = draw(st.integers(0, 2)), draw(st.booleans())
    setting = Setting(
        optimizer=optimizer,
        arguments=arguments,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        two_groups=two_groups,
        bias_lr=draw(st.none() | _RATE) if two_groups and "lr" in arguments else None,
    )
    return Case(
        setting=setting, epochs=warmup_epochs + draw(scheduled_epochs), updates=draw(st.integers(1, 6))
    )


@st.composite
def schedules(draw: st.DrawFn, name: str, every: str, depth: int = 0) -> Schedule:
    """A schedule of the class ``name`` with any of its arguments left out that may be."""
    if name in NESTED:
        arguments = draw(_sequential(every, depth) if name == "SequentialLR" else _chained(every, depth))
        return Schedule(name=name, arguments=arguments, every=every)
    required = _REQUIRED.get(name, ())
    arguments = draw(
        st.fixed_dictionaries(
            {key: strategy for key, strategy in ARGUMENTS[name].items() if key in required},
            optional={key: strategy for key, strategy in ARGUMENTS[name].items() if key not in required},
        )
    )
    if name == "OneCycleLR":  # any of three ways to say its length
        way = draw(st.sampled_from(["left out", "left out", "total_steps", "epochs and steps_per_epoch"]))
        arguments = {
            key: value
            for key, value in arguments.items()
            if key not in ("total_steps", "epochs", "steps_per_epoch") or key in way
        }
    return Schedule(name=name, arguments=arguments, every=every)


def _parts(every: str, depth: int, only: Iterable[str] = ()) -> st.SearchStrategy[Schedule]:
    names = tuple(only) or (SIMPLE if depth else (*SIMPLE, *NESTED))
    return st.sampled_from(names).flatmap(lambda name: schedules(name, every, depth + 1))


@st.composite
def _sequential(draw: st.DrawFn, every: str, depth: int) -> dict[str, Any]:
    """Parts and where they begin; PyTorch starts a nested part only as the first, so others are simple."""
    later = draw(st.lists(_parts(every, depth, SIMPLE), max_size=2))
    wrong = draw(st.integers(0, 14)) == 0  # a nested part later, or too many milestones: seldom
    if wrong and depth == 0:
        later.append(draw(_parts(every, depth, NESTED)))
    milestones = draw(st.lists(st.integers(0, 9), min_size=len(later), max_size=len(later) + wrong))
    if not wrong:
        milestones.sort()
    return {"schedulers": (draw(_parts(every, depth)), *later), "milestones": tuple(milestones)}


@st.composite
def _chained(draw: st.DrawFn, every: str, depth: int) -> dict[str, Any]:
    return {"schedulers": tuple(draw(st.lists(_parts(every, depth), min_size=1, max_size=3)))}


@st.composite
def _optimizers(draw: st.DrawFn, schedule: Schedule) -> tuple[str, dict[str, Any]]:
    """SGD, Adam, RMSprop, or Adagrad which has no momentum; without what the schedule sets itself."""
    name = draw(st.sampled_from(["SGD", "SGD", "SGD", "Adam", "Adam", "Adam", "RMSprop", "Adagrad"]))
    arguments: dict[str, Any] = {}
    if not any(part.name in CYCLING for part in _flat(schedule)) or draw(st.integers(0, 4)) == 0:
        arguments["lr"] = draw(_RATE)
    if name in ("SGD", "RMSprop") and not any(_cycles_momentum(part) for part in _flat(schedule)):
        arguments["momentum"] = draw(_MOMENTUM)
    if name == "SGD":
        steady = arguments.get("momentum", 1.0) > 0
        arguments["nesterov"] = steady and draw(st.booleans())
        arguments["dampening"] = 0.0 if arguments["nesterov"] else draw(_FRACTION)
    if name == "Adam":
        arguments["betas"] = (draw(_MOMENTUM), draw(_MOMENTUM))
    return name, arguments


def _flat(schedule: Schedule) -> list[Schedule]:
    return [schedule, *(part for nested in schedule.nested() for part in _flat(nested))]


def _cycles_momentum(schedule: Schedule) -> bool:
    return schedule.name in CYCLING and schedule.arguments.get("cycle_momentum", True) is True
