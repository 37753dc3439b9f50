"""A worker: carries out the runner's orders on the trials it holds. It knows no database."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import torch

from search_spaces.settings import PopulationKey
from workers.loops import LoopTrials
from workers.messages import Admission, Failed, Note, Orders, Outcome, Report, TaskArguments, WorkerSetup
from workers.one_by_one import OneByOne
from workers.population import Population
from workers.process_environment import prepare
from workers.recipe import Recipe, numeric_settings
from workers.solo import SoloTrials
from workers.tasks.registry import make_task, task_class, task_data
from workers.tasks.shared_data import on_device
from workers.tasks.task import Data
from workers.tasks.user_errors import named

MOST_IDLE_GROUPS = 8
_CAUGHT = (Exception, SystemExit)  # what a task's own code may raise; it comes back as data
DATA_SHARE = 0.5  # most of a device's free memory that data may take; the rest is for training


class _Bench(Protocol):
    """What a population and a set of solo trials have in common."""

    @property
    def free_slots(self) -> int: ...
    @property
    def is_empty(self) -> bool: ...
    def admit(self, trial: Admission) -> None: ...
    def release(self, number: int) -> None: ...
    def holds(self, number: int) -> bool: ...
    def advance(self, numbers: Sequence[int]) -> Sequence[Outcome]: ...


class Worker:
    """Trials of one worker, grouped into populations."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Take the setup's thread count, and on a GPU deterministic algorithms, for this process."""
        prepare(os.environ)
        torch.set_num_threads(setup.threads)
        if setup.device == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._setup = setup
        self._benches: dict[PopulationKey, list[_Bench]] = {}

    def carry_out(self, orders: Orders) -> Report:
        """Release, admit, train one epoch of each trial named, and report.

        What a task raises comes back as :class:`Failed` outcomes: this is the edge where a task's own
        code runs, and one task error must not end the worker.
        """
        began = perf_counter()
        for number in orders.release:
            self._release(number)
        with numeric_settings(self._setup.precision):
            outcomes = self._train(orders)
        notes = self._take_notes()
        self._drop_empty_benches()
        return Report(
            lane=orders.lane,
            round=orders.round,
            outcomes=tuple(outcomes),
            training_seconds=perf_counter() - began,
            notes=notes,
        )

    def close(self) -> tuple[Note, ...]:
        """Let every trial go that trains by a loop of the user's own; returns what that brought to light."""
        for bench in self._loops():
            bench.close()
        return self._take_notes()

    def _loops(self) -> list[LoopTrials]:
        everyone = [bench for benches in self._benches.values() for bench in benches]
        return [bench for bench in everyone if isinstance(bench, LoopTrials)]

    def _take_notes(self) -> tuple[Note, ...]:
        return tuple(note for bench in self._loops() for note in bench.take_notes())

    def _train(self, orders: Orders) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for trial in orders.admit:
            try:
                self._bench_for(trial).admit(trial)
            except _CAUGHT as error:
                outcomes.append(_failed(trial.number, error))
        if torch.get_num_threads() != self._setup.threads:  # a task's own code may have changed them
            torch.set_num_threads(self._setup.threads)
        for bench in [bench for benches in self._benches.values() for bench in benches]:
            held = [number for number in orders.advance if bench.holds(number)]
            # Trials that train alone also fail alone.
            alone = isinstance(bench, OneByOne)
            for together in [[number] for number in held] if alone else [held]:
                outcomes.extend(_advanced(bench, together))
        return outcomes

    def _release(self, number: int) -> None:
        """A trial that ended here on its own may be released again by a decision that was under way."""
        for benches in self._benches.values():
            for bench in benches:
                if bench.holds(number):
                    bench.release(number)

    def _drop_empty_benches(self) -> None:
        """Where batch size or task arguments vary continuously, nearly every trial has a bench of its own."""
        if len(self._benches) > MOST_IDLE_GROUPS:
            self._benches = {
                group: kept
                for group, benches in self._benches.items()
                if (kept := [bench for bench in benches if not bench.is_empty])
            }

    def _bench_for(self, trial: Admission) -> _Bench:
        benches = self._benches.setdefault(trial.setting.population, [])
        for bench in benches:
            if bench.free_slots:
                return bench
        benches.append(self._new_bench(trial))
        return benches[-1]

    def _new_bench(self, trial: Admission) -> _Bench:
        setup, setting = self._setup, trial.setting
        if setup.execution == "loop":
            return LoopTrials(setup, tuple(sorted(setting.task_arguments.items())))
        recipe = self._recipe(tuple(sorted(setting.task_arguments.items())))
        if setup.execution == "solo":
            return SoloTrials(recipe)
        return Population(
            recipe,
            optimizer=setting.optimizer,
            batch_size=setting.batch_size,
            width=setup.width,
            two_groups=setting.two_groups,
        )

    def _recipe(self, arguments: TaskArguments) -> Recipe:
        setup, known = self._setup, task_class(self._setup.task)
        return Recipe(
            task=make_task(setup.task, arguments),
            data=_placed_data(setup.task, arguments, setup.device),
            epochs=setup.epochs,
            metric=setup.metric,
            device=torch.device(setup.device),
            precision=setup.precision,
            functions=known.functions,
            optimizers=known.optimizers,
        )


def _placed_data(task: str, arguments: TaskArguments, device: str) -> Data:
    """The task's data on ``device`` where they leave room for training there, else in the host's memory."""
    data = task_data(task, arguments)
    if device == "cuda" and data.bytes > DATA_SHARE * torch.cuda.mem_get_info()[0]:
        return data
    return on_device(data, device)


def _advanced(bench: _Bench, numbers: Sequence[int]) -> Sequence[Outcome]:
    """One epoch of trials that train together; what their task raises fails them all."""
    try:
        return bench.advance(numbers)
    except _CAUGHT as error:
        for number in numbers:
            if bench.holds(number):
                bench.release(number)
        return [_failed(number, error) for number in numbers]


def _failed(number: int, error: BaseException) -> Failed:
    cause = "oom_gpu" if isinstance(error, torch.cuda.OutOfMemoryError) else "user_error"
    return Failed(
        number=number,
        cause=cause,
        message=named(error),
        traceback="".join(traceback.format_exception(error)),
    )
