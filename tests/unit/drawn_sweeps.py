"""Sweeps drawn at random from a seed, every feature beside every other, on workers that share rows.

What a trial shows is a function of its rates and its seed, as in training: settings that are trained alike
show the same, whatever they are called.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from search_spaces.catalogue import Catalogue, ScheduleEntry, Suppression
from search_spaces.confirming import Confirm
from search_spaces.earlier import EarlierSetting
from search_spaces.limits import Limits, Terminator
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Numeric, Range, Uniform, Value
from search_spaces.settings import Setting
from search_spaces.space import Metric, OptimizerSpace, Pruner, ScheduleSpace, SearchSpace, dimensions
from search_spaces.starts import StartPoint
from sweeps.cooldowns import cooldown_of
from sweeps.entries import Ended
from tests.unit import sweeps_for_tests
from workers.cooldown import is_due
from workers.messages import Admission, Diverged, Failed, Measured, Orders, Outcome, Report, ScheduleProgress

UPDATES = 10  # an epoch
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


def _share(*of: object) -> float:
    """A number from 0 to 1 that is a function of what it is given."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:4], "big") / 2**32


@dataclass(frozen=True, slots=True)
class Shown:
    """An epoch of a trial, whose number does not matter."""

    rate: float
    loss: float
    diverged: bool


class Curves:
    """What the trials of a sweep show, by setting, seed and epoch."""

    def __init__(self, sweep: DrawnSweep) -> None:
        self._sweep = sweep
        self._known: dict[object, list[Shown]] = {}

    def of(self, setting: Setting, seed: int) -> list[Shown]:
        """The whole curve, up to where it diverges."""
        key = repr(sorted(setting.to_json().items(), key=str)), seed
        if key not in self._known:
            self._known[key] = self._trained(setting, seed)
        return self._known[key]

    def _trained(self, setting: Setting, seed: int) -> list[Shown]:
        found: list[Shown] = []
        identity = identity_of(setting)
        lr, momentum = starting_rate(setting), float(str(setting.arguments.get("momentum", 0.9)))
        for epoch in range(1, self._sweep.space.epochs + 1):
            rate = lr * factor(setting, epoch, [one.loss for one in found])
            rates = [*(one.rate for one in found), rate]
            noise = _share(identity, rates, seed) / 10
            loss = abs(math.log10(rate) + 1) / 3 + 1 / epoch + noise
            unstable = rate / (1 - momentum) > 4 and epoch == min(2, self._sweep.space.epochs)
            breaks = _share(identity, rates, seed, "diverges") * self._sweep.space.epochs
            found.append(Shown(rate, loss, unstable or breaks < self._sweep.diverging))
            if found[-1].diverged:
                break
        return found


def identity_of(setting: Setting) -> str:
    """Equal for settings that agree in all but their rates, whatever means nothing left out."""
    arguments = {name: value for name, value in setting.arguments.items() if name != "lr"}
    if arguments.get("momentum") == 0:
        arguments.pop("nesterov", None)
    return repr(sorted(arguments.items()))


def starting_rate(setting: Setting) -> float:
    """The rate before any decay; OneCycleLR's highest."""
    return float(str(setting.arguments.get("lr", setting.schedule.arguments.get("max_lr"))))


def factor(setting: Setting, epoch: int, losses: Sequence[float]) -> float:
    """Of the starting rate, in an epoch before which the trial has shown ``losses``."""
    arguments = setting.schedule.arguments
    if setting.schedule.name == "StepLR":
        return float(str(arguments["gamma"])) ** ((epoch - 1) // int(str(arguments["step_size"])))
    if setting.schedule.name == "OneCycleLR":
        return 1 / epoch
    if setting.schedule.name == "ReduceLROnPlateau":
        waited, drops, best = 0, 0, math.inf
        for loss in losses:
            waited = 0 if loss < best - 0.1 else waited + 1
            best = min(best, loss)
            if waited > int(str(arguments["patience"])):
                waited, drops = 0, drops + 1
        return 0.5**drops
    return 1.0


def table(setting: Setting, epochs: int) -> tuple[float, ...]:
    """The rate of each epoch, as far as it is known before training: a plateau schedule stays where it is."""
    losses = [-float(epoch) for epoch in range(epochs)]
    return tuple(starting_rate(setting) * factor(setting, at + 1, losses[:at]) for at in range(epochs))


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates that settings are trained with."""

    epochs: int

    def at_start(self, setting: Setting) -> Hashable:
        """Of the first epoch."""
        return table(setting, 1)

    def throughout(self, setting: Setting) -> Hashable | None:
        """Of all epochs; None where a plateau schedule may act."""
        acts = setting.schedule.name == "ReduceLROnPlateau"
        if acts and int(str(setting.schedule.arguments["patience"])) < self.epochs:
            return None
        return table(setting, self.epochs)


def prefixes(epochs: int) -> Callable[[Sequence[Setting]], list[tuple[int, ...]]]:
    """As ``workers.prefixes``."""

    @cache
    def rates(settings: tuple[str, ...]) -> list[tuple[int, ...]]:
        tables = [table(known[setting], epochs) for setting in settings]
        return [
            tuple(
                next(at for at in range(place + 1) if tables[at][:epoch] == own[:epoch])
                for epoch in range(1, epochs + 1)
            )
            for place, own in enumerate(tables)
        ]

    known: dict[str, Setting] = {}

    def found(settings: Sequence[Setting]) -> list[tuple[int, ...]]:
        keys = [repr(setting) for setting in settings]
        known.update(zip(keys, settings, strict=True))
        return rates(tuple(keys))

    return found


# Workers


@dataclass(slots=True)
class _Row:
    riders: list[Admission]
    epochs_done: int = 0

    @property
    def beginning(self) -> object:
        """What all that began on it share."""
        return self.riders[0].seed, self.riders[0].setting.beginning


@dataclass
class RowPool:
    """Workers whose trials ride on rows, and whose reports come in any order."""

    sweep: DrawnSweep
    curves: Curves
    workers: int
    random_: random.Random
    fault: Callable[[], None] = lambda: None
    queues: list[list[Orders]] = field(default_factory=list)
    rows: list[list[_Row]] = field(default_factory=list)
    ever: set[int] = field(default_factory=set)  # trials that were admitted
    epochs_trained: int = 0  # of rows, cooldowns included
    closed: bool = False

    def __post_init__(self) -> None:
        self.queues = [[] for _ in range(self.workers)]
        self.rows = [[] for _ in range(self.workers)]

    def send(self, worker: int, orders: Orders) -> None:
        """Take orders."""
        self.queues[worker].append(orders)

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        """The report of whoever is fastest."""
        ready = [worker for worker, queue in enumerate(self.queues) if queue]
        if timeout_seconds == 0 and (not ready or self.random_.random() < 0.5):
            return None
        self.fault()
        assert ready, "the runner waits and no orders are under way"
        worker = self.random_.choice(ready)
        orders = self.queues[worker].pop(0)
        for number in orders.release:
            self._let_go(worker, number)
        new: dict[object, _Row] = {}
        for trial in orders.admit:
            assert all(trial.number != one.number for row in self.rows[worker] for one in row.riders), "twice"
            self.ever.add(trial.number)
            start = (trial.seed, trial.setting.beginning) if self.sweep.space.forks else trial.number
            if start not in new:
                new[start] = _Row([])
                self.rows[worker].append(new[start])
            new[start].riders.append(trial)
            new[start].riders.sort(key=lambda one: one.number)
        outcomes = [
            outcome
            for row in list(self.rows[worker])
            for outcome in self._advance(worker, row, orders.advance)
        ]
        return worker, Report(
            lane=orders.lane, round=orders.round, outcomes=tuple(outcomes), training_seconds=0.01
        )

    def close(self) -> None:
        """All is over."""
        self.closed = True

    def _let_go(self, worker: int, number: int) -> None:
        for row in self.rows[worker]:
            row.riders = [one for one in row.riders if one.number != number]
        self.rows[worker] = [row for row in self.rows[worker] if row.riders]

    def _advance(self, worker: int, row: _Row, advance: Sequence[int]) -> list[Outcome]:
        groups: dict[float | None, list[Admission]] = {}
        for trial in row.riders:
            curve = self.curves.of(trial.setting, trial.seed)
            rate = curve[row.epochs_done].rate if trial.number in advance else None
            groups.setdefault(rate, []).append(trial)
        outcomes: list[Outcome] = []
        done = row.epochs_done
        for place, (rate, riders) in enumerate(groups.items()):
            own = row
            if place:
                own = _Row(riders, done)
                self.rows[worker].append(own)
            own.riders = riders
            if rate is not None:
                outcomes += self._train(worker, own)
        return outcomes

    def _train(self, worker: int, row: _Row) -> list[Outcome]:
        row.epochs_done += 1
        self.epochs_trained += 1
        owner, epochs = row.riders[0], self.sweep.space.epochs
        # Those that share a row fail together, whoever of them is left when they are trained again.
        who = repr(row.beginning) if self.sweep.space.forks else owner.number
        fails = _share(who, "fails") < self.sweep.broken
        if fails and row.epochs_done == 1 + int(_share(who, "at") * epochs):
            numbers = [trial.number for trial in row.riders]
            for number in numbers:
                self._let_go(worker, number)
            return [
                Failed(number=number, cause="user_error", message="no", traceback="") for number in numbers
            ]
        outcome = self._outcome(owner, row)
        if isinstance(outcome, Measured):
            self.epochs_trained += outcome.cooldown_epochs
        found: list[Outcome] = [outcome]
        for rider in row.riders[1:]:
            if isinstance(outcome, Measured):
                found.append(replace(outcome, number=rider.number, rides_on=owner.number, cooldown_epochs=0))
            else:
                found.append(replace(outcome, number=rider.number))
        found = [self._with_progress(one, row, trial) for one, trial in zip(found, row.riders, strict=True)]
        if isinstance(outcome, Diverged) or row.epochs_done == epochs:
            for trial in list(row.riders):
                self._let_go(worker, trial.number)
        return found

    def _outcome(self, owner: Admission, row: _Row) -> Measured | Diverged:
        epoch, epochs = row.epochs_done, self.sweep.space.epochs
        shown = self.curves.of(owner.setting, owner.seed)[epoch - 1]
        step, momentum = UPDATES * epoch, float(str(owner.setting.arguments.get("momentum", 0.9)))
        rates = {"lr": shown.rate, "peak_lr": shown.rate}
        if shown.diverged:
            return Diverged(
                number=owner.number, epoch=epoch, step=step, grad_norm=None, reason="inf", **rates
            )
        metrics = {"val_loss": shown.loss, "val_accuracy": 1 / (1 + shown.loss)}
        cooldown = cooldown_of(self.sweep.space)
        cools = any(trial.cools for trial in row.riders) and is_due(cooldown, epoch, epochs)
        if cools:
            metrics |= _cooled(metrics, identity_of(owner.setting), epoch, owner.seed)
        return Measured(
            number=owner.number,
            epoch=epoch,
            step=step,
            momentum=momentum,
            train_loss=shown.loss,
            grad_norm=1.0,
            metrics=metrics,
            cooldown_epochs=cooldown.epochs if cools and cooldown is not None else 0,
            **rates,
        )

    def _with_progress(self, outcome: Outcome, row: _Row, trial: Admission) -> Outcome:
        """How far the trial's own schedule is, which shares its row so far."""
        if not isinstance(outcome, Measured):
            return outcome
        rates = table(trial.setting, self.sweep.space.epochs)
        done = row.epochs_done
        progress = ScheduleProgress(
            spent=sum(rates[:done]) / sum(rates), annealing=1 - rates[-1] / rates[done - 1]
        )
        return replace(outcome, progress=progress)


def _cooled(metrics: Mapping[str, float], identity: str, epoch: int, seed: int) -> dict[str, float]:
    """What a copy shows at the end of its cooldown."""
    share = _share(identity, epoch, seed, "cooled")
    if share < 0.1:
        return {"cooldown_diverged": 1.0}
    return {f"cooldown_{name}": value * (0.8 + share / 5) for name, value in metrics.items()}


__all__ = ["Ended"]
