"""Sweeps drawn at random from a seed, every feature beside every other."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.catalogue import Catalogue, ScheduleEntry, Suppression
from search_spaces.confirming import Confirm
from search_spaces.earlier import EarlierSetting
from search_spaces.limits import Limits, Terminator
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Numeric, Range, Uniform, Value
from search_spaces.space import Metric, OptimizerSpace, Pruner, ScheduleSpace, SearchSpace, dimensions
from search_spaces.starts import StartPoint
from tests.unit import sweeps_for_tests

ONE_CYCLE = (Suppression(setting="lr"), Suppression(setting="momentum"))
CATALOGUE = Catalogue(
    optimizers={"SGD": replace(sweeps_for_tests.CATALOGUE.optimizers["SGD"], sums_steps=True)},
    schedules={
        "ReduceLROnPlateau": ScheduleEntry(name="ReduceLROnPlateau", arguments={}, watches=True),
        "OneCycleLR": ScheduleEntry(name="OneCycleLR", arguments={}, suppresses=ONE_CYCLE),
    },
    tasks={},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSweep:
    """A sweep, and what its workers are to break."""

    space: SearchSpace
    earlier: tuple[EarlierSetting, ...] = ()
    broken: float = 0.0  # share of the trials that fail
    diverging: float = 0.0  # share of the trials that diverge somewhere on their way

    @property
    def told(self) -> str:
        """For a failed test."""
        space = self.space
        return (
            f"{space.sampler}, {space.pruner.name} {dict(space.pruner.arguments)}, seeds {space.seeds}, "
            f"{space.trials} of {space.epochs} epochs, {space.concurrency} at once by {space.order}, forks "
            f"{space.forks}, branches {space.branches}, {[one.label for one in space.schedules]}, start "
            f"{len(space.start)}, earlier {len(self.earlier)}, {space.confirm}, {space.budget.epochs}, "
            f"{space.terminator}, {space.metric.goal}, failing {self.broken}, diverging {self.diverging}"
        )


def draw_sweep(seed: int) -> DrawnSweep:
    """The sweep of a seed."""
    chance = random.Random(seed)
    sampler = chance.choice(["tpe"] * 6 + ["random"] * 5 + ["qmc"] * 3 + ["grid"] * 4)
    if chance.random() < 0.01:
        sampler = "gp"
    epochs = chance.choice([1, 2, 3, 4, 5, 6, 8, 12, 22])
    branches = sampler != "gp" and chance.random() < 0.25
    schedules = _branches(chance, epochs) if branches else _schedules(chance, epochs)
    seeds = chance.choice([(0,), (0,), (3,), (0, 1), (2, 5)])
    order = chance.choice(["rounds", "rounds", "rounds", "arrival"])
    maximize = chance.random() < 0.3
    space = SearchSpace(
        name=f"drawn {seed}",
        task="none",
        metric=Metric(name="val_accuracy", goal="maximize")
        if maximize
        else Metric(name="val_loss", goal="minimize"),
        epochs=epochs,
        trials=chance.randint(1, 14) if sampler == "gp" else chance.choice([1, 3, 8, 14, 20, 30, 45]),
        optimizers=(_optimizer(chance),),
        schedules=schedules,
        branches=branches,
        seed=chance.randrange(1000),
        seeds=seeds,
        concurrency=chance.choice([1, 2, 3, 4, 6, 10, 40]),
        sampler=sampler,
        order=order,
        forks=chance.random() < 0.6,
        pruner=_pruner(chance, epochs),
        confirm=_confirm(chance),
        terminator=_terminator(chance),
    )
    space = replace(space, start=_start(chance, space))
    return DrawnSweep(
        space=replace(space, budget=_budget(chance, space)),
        earlier=_earlier(chance, space) if sampler in ("tpe", "gp") and chance.random() < 0.4 else (),
        broken=chance.choice([0, 0, 0, 0, 0.05, 0.15]),
        diverging=chance.choice([0, 0, 0.1, 0.3]),
    )


def _optimizer(chance: random.Random) -> OptimizerSpace:
    few = chance.random() < 0.5
    lr: Range = _choice(0.003, 0.1, 0.3, 2.0) if few else Log(low=1e-3, high=1.0, points=3)
    momentum: Range = _choice(0.0, 0.5, 0.8) if few else LogOneMinus(low=0.0, high=0.99, points=2)
    arguments = {"lr": lr, "momentum": momentum}
    if chance.random() < 0.6:
        arguments["nesterov"] = _choice(False, True)
    return OptimizerSpace(name="SGD", label="SGD", arguments=arguments)


def _choice(*values: Value) -> Choice:
    return Choice(options=tuple(Fixed(value=value) for value in values))


def _step(label: str, step_size: Range, gamma: Range) -> ScheduleSpace:
    return ScheduleSpace(name="StepLR", label=label, arguments={"step_size": step_size, "gamma": gamma})


def _schedules(chance: random.Random, epochs: int) -> tuple[ScheduleSpace, ...]:
    found = [
        ScheduleSpace(name="constant", label="constant"),
        _step(
            "StepLR#1", Integer(low=1, high=max(2, epochs), points=2), Uniform(low=0.1, high=0.9, points=2)
        ),
        _step("StepLR#2", _choice(2, epochs, 99), Fixed(value=0.1)),
        ScheduleSpace(
            name="ReduceLROnPlateau", label="ReduceLROnPlateau", arguments={"patience": _choice(0, 1, 99)}
        ),
        ScheduleSpace(
            name="OneCycleLR",
            label="OneCycleLR",
            arguments={"max_lr": _choice(0.05, 0.5, 3.0)},
            every="step",
            suppresses=ONE_CYCLE,
        ),
    ]
    return tuple(sorted(chance.sample(found, chance.randint(1, len(found))), key=lambda one: one.label))


def _branches(chance: random.Random, epochs: int) -> tuple[ScheduleSpace, ...]:
    found = [
        ScheduleSpace(name="constant", label="constant"),
        *(_step(f"StepLR#{at}", Fixed(value=at), Fixed(value=0.1)) for at in (1, 3, 99)),
        ScheduleSpace(
            name="ReduceLROnPlateau",
            label="ReduceLROnPlateau",
            arguments={"patience": Fixed(value=chance.choice((0, 50)))},
        ),
        ScheduleSpace(
            name="OneCycleLR",
            label="OneCycleLR",
            arguments={"max_lr": Fixed(value=0.5)},
            every="step",
            suppresses=ONE_CYCLE,
        ),
    ]
    return tuple(chance.sample(found, chance.randint(2, len(found))))


def _pruner(chance: random.Random, epochs: int) -> Pruner:
    name = chance.choice(["none", "asha", "hyperband", "median", "decay_fair", "decay_fair", "decay_fair"])
    arguments: dict[str, Any] = {}
    if name == "decay_fair":
        arguments["control"] = chance.choice([0.05, 0.4, 0.4, 0])
        if epochs > 1 and chance.random() < 0.5:
            arguments["cooldown_epochs"] = chance.choice([1, min(2, epochs - 1)])
    return Pruner(name=name, arguments=arguments)


def _confirm(chance: random.Random) -> Confirm | None:
    return Confirm(top=chance.randint(2, 4), seeds=chance.randint(2, 4)) if chance.random() < 0.4 else None


def _terminator(chance: random.Random) -> Terminator:
    if chance.random() < 0.7:
        return Terminator()
    return Terminator(name="no_improvement", settings=chance.randint(2, 12), by=chance.choice([0.0, 0.01]))


def _budget(chance: random.Random, space: SearchSpace) -> Limits:
    if chance.random() < 0.7:
        return Limits()
    kept = 0 if space.confirm is None else space.confirm.top * space.confirm.seeds * space.epochs
    each = space.epochs * len(space.seeds)
    return Limits(epochs=kept + chance.randint(each, max(2 * each, space.trials * each)))


def _start(chance: random.Random, space: SearchSpace) -> tuple[StartPoint, ...]:
    if chance.random() < 0.6:
        return ()
    keeping_lr = [place for place, one in enumerate(space.schedules) if one.name != "OneCycleLR"]
    ranges = dimensions(space)
    points = []
    for _ in range(min(chance.randint(1, 3), max(1, space.trials // len(space.schedules)))):
        values = {
            name: _value(chance, ranges[name]) for name in ("SGD.lr", "SGD.momentum") if chance.random() < 0.6
        }
        among: dict[str, tuple[int, ...]] = {}
        if "schedule" in ranges and not space.branches and values:
            among = {"schedule": tuple(keeping_lr)} if keeping_lr else {}
        points.append(
            StartPoint(
                values=values if among or space.branches or "schedule" not in ranges else {}, among=among
            )
        )
    return tuple(points)


def _value(chance: random.Random, range_: Numeric | Choice) -> Value:
    if isinstance(range_, Choice):
        return chance.randrange(len(range_.options))
    return range_.at(chance.random())


def _earlier(chance: random.Random, space: SearchSpace) -> tuple[EarlierSetting, ...]:
    found = []
    for _ in range(chance.randint(1, 20)):
        values: dict[str, Value] = {}

        def choose(name: str, range_: Numeric | Choice, into: dict[str, Value] = values) -> Value:
            into[name] = _value(chance, range_)
            return into[name]

        space.draw(choose)
        how = chance.choice(["finished", "finished", "pruned", "diverged"])
        found.append(
            EarlierSetting(
                values=values,
                finished=how == "finished",
                epoch=None if how == "diverged" else space.epochs if how == "finished" else 1,
                value=None if how == "diverged" else chance.random(),
            )
        )
    return tuple(found)


# What trials show
