"""Workers of drawn sweeps: they share rows, break what they are told to, and show made-up curves.

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

from search_spaces.settings import Setting
from sweeps.cooldowns import cooldown_of
from sweeps.entries import Ended
from tests.unit.drawn_sweeps import DrawnSweep
from workers.cooldown import is_due
from workers.messages import Admission, Diverged, Failed, Measured, Orders, Outcome, Report, ScheduleProgress

UPDATES = 10  # an epoch


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
