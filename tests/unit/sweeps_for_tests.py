"""A sweep without torch: a space by hand, a pool whose curves are a formula, a store in a file."""

from __future__ import annotations

import hashlib
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from search_spaces.catalogue import Argument, Catalogue, Kind, OptimizerEntry
from search_spaces.earlier import EarlierSetting
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Uniform
from search_spaces.settings import Setting
from search_spaces.space import Metric, OptimizerSpace, Pruner, ScheduleSpace, SearchSpace
from sweeps.records import Owner, SweepState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store
from sweeps.sweep_files import new_sweep
from sweeps.watching import Snapshot
from workers.messages import Diverged, Failed, Measured, Orders, Outcome, Report, ScheduleProgress
from workers.pool import WorkerLost

CATALOGUE = Catalogue(
    optimizers={
        "SGD": OptimizerEntry(
            name="SGD",
            arguments={
                name: Argument(name=name, kinds=(Kind.number,), default=default)
                for name, default in (
                    ("lr", 1e-3),
                    ("momentum", 0),
                    ("weight_decay", 0),
                    ("nesterov", False),
                )
            },
            stacked=True,
        )
    },
    schedules={},
    tasks={},
)

SPACE = SearchSpace(
    name="made up",
    task="none",
    metric=Metric(name="val_loss", goal="minimize"),
    epochs=6,
    trials=24,
    concurrency=5,
    optimizers=(
        OptimizerSpace(
            name="SGD",
            label="SGD",
            arguments={
                "lr": Log(low=1e-3, high=1.0, points=4),
                "momentum": LogOneMinus(low=0.0, high=0.99, points=3),
                "nesterov": Choice(options=(Fixed(value=False), Fixed(value=True))),
            },
        ),
    ),
    schedules=(
        ScheduleSpace(name="constant", label="constant"),
        ScheduleSpace(
            name="StepLR",
            label="StepLR",
            arguments={
                "step_size": Integer(low=1, high=4, points=2),
                "gamma": Uniform(low=0.1, high=0.9, points=2),
            },
        ),
    ),
)


def space(**changes: Any) -> SearchSpace:
    pruner = changes.pop("pruner", "none")
    return replace(SPACE, pruner=Pruner(name=pruner), **changes)


@dataclass
class FakePool:
    """Workers whose reports come in any order; faults on demand."""

    workers: int
    epochs: int
    random_: random.Random
    fault: Callable[[], None] = lambda: None
    failing: bool | Mapping[int, str] = False  # all trials, or some by number with what they say
    shift: float = 0.0  # added to every training loss: another machine's bits
    queues: list[deque[Orders]] = field(default_factory=list)
    held: dict[int, tuple[int, int, Setting]] = field(default_factory=dict)  # seed, epochs done, setting
    worker_of: dict[int, int] = field(default_factory=dict)
    most_held: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.queues = [deque() for _ in range(self.workers)]

    def send(self, worker: int, orders: Orders) -> None:
        self.queues[worker].append(orders)

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        ready = [worker for worker, queue in enumerate(self.queues) if queue]
        if timeout_seconds == 0 and (not ready or self.random_.random() < 0.5):
            return None
        self.fault()
        if not ready:
            raise AssertionError("the runner waits and no orders are under way")
        worker = self.random_.choice(ready)
        orders = self.queues[worker].popleft()
        for number in orders.release:
            self.held.pop(number, None)
        for trial in orders.admit:
            assert trial.number not in self.held, "admitted twice"
            self.held[trial.number] = (trial.seed, 0, trial.setting)
            self.worker_of[trial.number] = worker
        self.most_held = max(self.most_held, len(self.held))
        outcomes = [self._advance(number, worker) for number in orders.advance if number in self.held]
        return worker, Report(
            lane=orders.lane, round=orders.round, outcomes=tuple(outcomes), training_seconds=0.01
        )

    def close(self) -> None:
        self.closed = True

    def _advance(self, number: int, worker: int) -> Outcome:
        assert self.worker_of[number] == worker, "ordered from a worker that does not hold it"
        seed, done, setting = self.held[number]
        says = (
            self.failing.get(number) if isinstance(self.failing, Mapping) else "no" if self.failing else None
        )
        outcome = (
            made_up_outcome(number, seed, done + 1, setting)
            if says is None
            else Failed(number=number, cause="user_error", message=says, traceback="")
        )
        if self.shift and isinstance(outcome, Measured):
            outcome = replace(outcome, train_loss=outcome.train_loss * (1 + 2**-52) + self.shift)
        if isinstance(outcome, Measured) and done + 1 < self.epochs:
            self.held[number] = (seed, done + 1, setting)
        else:
            del self.held[number]
        return outcome


def made_up_outcome(number: int, seed: int, epoch: int, setting: Setting) -> Outcome:
    """A curve that is a function of setting and seed; some settings diverge."""
    identity = repr(sorted(setting.to_json().items(), key=lambda item: item[0]))
    noise = hashlib.sha256(f"{identity} {seed} {epoch}".encode()).digest()[0] / 2550
    lr = float(str(setting.arguments["lr"]))
    momentum = float(str(setting.arguments["momentum"]))
    if lr / (1 - momentum) > 1 and epoch == 2:
        return Diverged(
            number=number,
            epoch=epoch,
            step=10 * epoch,
            lr=lr,
            peak_lr=lr,
            grad_norm=None,
            reason="the loss was inf",
        )
    loss = abs(math.log10(lr) + 1) + 1 / epoch + noise
    return Measured(
        number=number,
        epoch=epoch,
        step=10 * epoch,
        lr=lr,
        momentum=momentum,
        peak_lr=lr,
        train_loss=loss,
        grad_norm=1.0,
        metrics={"val_loss": loss, "val_accuracy": 1 / (1 + loss)},
        progress=made_up_progress(setting, epoch),
    )


def made_up_progress(setting: Setting, epoch: int, epochs: int = 22) -> ScheduleProgress:
    """How far StepLR or a constant rate is, of a training of ``epochs``."""
    step_size, gamma = (setting.schedule.arguments.get(name, 1) for name in ("step_size", "gamma"))
    rates = [float(str(gamma)) ** (past // int(str(step_size))) for past in range(epochs)]
    return ScheduleProgress(spent=sum(rates[:epoch]) / sum(rates), annealing=1 - rates[-1] / rates[epoch - 1])


class Silence:
    """An observer that only remembers."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.sentences: list[str] = []
        self.ends = 0

    def round_closed(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def sweep_ended(self) -> None:
        self.ends += 1

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the dying runner runs after it."""


def stored(store: Store, space_: SearchSpace) -> int:
    return store.create_sweep(new_sweep(space_, {}))


def run(
    store: Store,
    sweep_id: int,
    space_: SearchSpace,
    *,
    workers: int = 1,
    seed: int = 0,
    fault: Callable[[], None] = lambda: None,
    failing: bool | Mapping[int, str] = False,
    shift: float = 0.0,
    interrupted: Callable[[], bool] = lambda: False,
    observer: Silence | None = None,
    pools: list[FakePool] | None = None,
    execution: str = "made up",
    clock: Callable[[], float] = monotonic,
    earlier: Sequence[EarlierSetting] = (),
) -> SweepState:
    sweep_run = SweepRun(
        store=store,
        sweep_id=sweep_id,
        space=space_,
        catalogue=CATALOGUE,
        plan={"execution": execution},
        observer=observer or Silence(),
        interrupted=interrupted,
        now=lambda: 1_700_000_000.0,
        clock=clock,
        earlier=earlier,
    )

    def start_pool() -> FakePool:
        pool = FakePool(
            workers=workers,
            epochs=space_.epochs,
            random_=random.Random(seed),
            fault=fault,
            failing=failing,
            shift=shift,
        )
        if pools is not None:
            pools.append(pool)
        return pool

    return run_sweep(sweep_run, Owner(host="elsewhere", pid=1, started=1.0), start_pool)


def everything(store: Store, sweep_id: int) -> tuple[Any, ...]:
    """All that a sweep is judged by: trials without their luck, curves, proposals."""
    trials = [
        replace(trial, sweep_id=0, attempt=0, lane=0, admitted_round=0) for trial in store.trials(sweep_id)
    ]
    return trials, store.measurements(sweep_id), store.proposals(sweep_id)


__all__ = ["WorkerLost"]
