"""A worker: carries out the runner's orders on the trials it holds. It knows no database."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Protocol

import torch

from search_spaces.settings import PopulationKey
from workers.loops import LoopTrials
from workers.memory import is_out_of_memory
from workers.messages import Admission, Failed, Note, Orders, Outcome, Report, TaskArguments, WorkerSetup
from workers.one_by_one import OneByOne
from workers.population import Population
from workers.process_environment import prepare
from workers.recipe import Recipe, numeric_settings
from workers.schedule_progress import ScheduleProgresses
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
    def is_empty(self) -> bool: ...
    def admit(self, trial: Admission) -> None: ...
    def release(self, number: int) -> None: ...
    def holds(self, number: int) -> bool: ...
    def advancing(self, numbers: Sequence[int]) -> Iterator[Outcome]: ...
    def take_notes(self) -> tuple[Note, ...]: ...


class Worker:
    """Trials of one worker, grouped into populations."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Take the setup's thread count, and on a GPU deterministic algorithms, for this process."""
        prepare(os.environ)
        torch.set_num_threads(setup.threads)
        if setup.device == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._setup = setup
        self._benches: dict[PopulationKey, _Bench] = {}
        self._progresses = ScheduleProgresses(setup) if setup.judged_after else None

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
        return [bench for bench in self._benches.values() if isinstance(bench, LoopTrials)]

    def _take_notes(self) -> tuple[Note, ...]:
        return tuple(note for bench in self._benches.values() for note in bench.take_notes())

    def _train(self, orders: Orders) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for trial in orders.admit:
            try:
                self._bench_for(trial).admit(trial)
                if self._progresses is not None:
                    self._progresses.admit(trial)
            except _CAUGHT as error:
                outcomes.append(_failed(trial.number, error))
        if torch.get_num_threads() != self._setup.threads:  # a task's own code may have changed them
            torch.set_num_threads(self._setup.threads)
        for bench in self._benches.values():
            held = [number for number in orders.advance if bench.holds(number)]
            # Trials that train alone also fail alone.
            alone = isinstance(bench, OneByOne)
            for together in [[number] for number in held] if alone else [held]:
                outcomes.extend(_advanced(bench, together))
        if self._progresses is not None:
            return [self._progresses.told(outcome) for outcome in outcomes]
        return outcomes

    def _release(self, number: int) -> None:
        """A trial that ended here on its own may be released again by a decision that was under way."""
        for bench in self._benches.values():
            if bench.holds(number):
                bench.release(number)
        if self._progresses is not None:
            self._progresses.release(number)

    def _drop_empty_benches(self) -> None:
        """Where batch size or task arguments vary continuously, nearly every trial has a bench of its own."""
        if len(self._benches) > MOST_IDLE_GROUPS:
            self._benches = {group: bench for group, bench in self._benches.items() if not bench.is_empty}

    def _bench_for(self, trial: Admission) -> _Bench:
        group = trial.setting.population
        if group not in self._benches:
            self._benches[group] = self._new_bench(trial)
        return self._benches[group]

    def _new_bench(self, trial: Admission) -> _Bench:
        setup, setting = self._setup, trial.setting
        if setup.execution == "loop":
            return LoopTrials(setup, tuple(sorted(setting.task_arguments.items())))
        recipe = self._recipe(tuple(sorted(setting.task_arguments.items())))
        if setup.execution == "solo":
            return SoloTrials(recipe, setup.cooldown)
        return Population(
            recipe,
            optimizer=setting.optimizer,
            batch_size=setting.batch_size,
            width=setup.width,
            two_groups=setting.two_groups,
            forks=setup.forks,
            cooldown=setup.cooldown,
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
            convolutions=setup.convolutions,
            functions=known.functions,
            optimizers=known.optimizers,
        )


def _placed_data(task: str, arguments: TaskArguments, device: str) -> Data:
    """The task's data on ``device`` where they leave room for training there, else in the host's memory."""
    data = task_data(task, arguments)
    if device == "cuda" and data.bytes > DATA_SHARE * torch.cuda.mem_get_info()[0]:
        return data
    return on_device(data, device)


def _advanced(bench: _Bench, numbers: Sequence[int]) -> list[Outcome]:
    """One epoch of trials that train together; what their task raises fails those not yet trained."""
    outcomes: list[Outcome] = []
    try:
        for outcome in bench.advancing(numbers):
            outcomes.append(outcome)
    except _CAUGHT as error:
        for number in sorted(set(numbers) - {outcome.number for outcome in outcomes}):
            if bench.holds(number):
                bench.release(number)
            outcomes.append(_failed(number, error))
    return outcomes


def _failed(number: int, error: BaseException) -> Failed:
    on_device = isinstance(error, torch.cuda.OutOfMemoryError)
    cause = "oom_gpu" if on_device else "oom_host" if is_out_of_memory(error) else "user_error"
    return Failed(
        number=number,
        cause=cause,
        message=named(error),
        traceback="".join(traceback.format_exception(error)),
    )
