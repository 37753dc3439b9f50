"""Speed benches: one task, optimizer and batch size, trained an epoch cut short, alone and as rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, thread_time

import torch

from search_spaces.settings import Schedule, Setting
from workers.anatomy import anatomy_of
from workers.memory import free_memory, is_out_of_memory, peak_memory, release_cached_memory
from workers.messages import Admission
from workers.population import MINIMUM_WIDTH, Population
from workers.randomness import initial_model
from workers.recipe import Recipe, numeric_settings
from workers.solo import SoloTrial
from workers.speed import (
    SECONDS_WORTH_MEASURING,
    SHORTEST_SECONDS,
    Clock,
    SpeedQuestion,
    Speeds,
    Try,
    measure,
)
from workers.tasks.registry import make_task, task_class, task_data

_SOLO_SECONDS = 0.008  # of an epoch cut short, alone
_FEWEST_UPDATES = 2
_FEWEST_VALIDATED = 8  # examples: a metric of fewer may not exist
_PILOTS = 3
_EPOCHS = 256  # more than are trained
_ANY_WIDTH = 2**31  # of a population: as many rows at once as are there
_NEVER = 2**62  # updates
_TINY_RATE = 1e-6  # of learning: what is tried neither diverges nor comes to numbers that are slow
SHARE_OF_MEMORY = 0.8  # of what is free


def speeds_of(question: SpeedQuestion) -> Speeds | None:
    """The speeds that ``question`` asks for, in one thread; None where the sweep is too short to gain.

    On a processor by the thread's own time, so that others who use the machine do not show; on a GPU by the
    clock. Raises what the task raises, SystemExit too.
    """
    on_gpu = question.device == "cuda"
    clock = _device_clock if on_gpu else thread_time
    with as_a_worker(on_gpu=on_gpu), numeric_settings(question.precision):
        recipe = _recipe(question)
        updates = recipe.data.updates_per_epoch(question.setting.batch_size)
        setting = _plain(question.setting)
        seconds = _seconds_of_update(recipe, setting, clock)
        if seconds * updates * question.trial_epochs < SECONDS_WORTH_MEASURING:
            return None
        tried = min(updates, max(_FEWEST_UPDATES, round(_SOLO_SECONDS / seconds)))
        benches = TaskBenches(
            _cut(recipe, setting.batch_size, tried),
            setting,
            workers=question.workers,
            data_bytes=recipe.data.bytes,
        )
        return measure(
            benches,
            least=MINIMUM_WIDTH,
            most=question.most,
            clock=clock,
            pinned=question.pinned,
            known=question.known,
        )


class TaskBenches:
    """Trials of one setting, from a recipe whose epochs are cut short."""

    def __init__(self, recipe: Recipe, setting: Setting, *, workers: int = 1, data_bytes: int = 0) -> None:
        """``workers``: that share the memory, and hold ``data_bytes`` of data each."""
        self._recipe = recipe
        self._setting = setting
        self._workers = workers
        self._data_bytes = data_bytes
        self._updates = recipe.data.updates_per_epoch(setting.batch_size)
        self._populations: dict[str, Population] = {}  # by the way of convolving
        self._peaks = [peak_memory(recipe.device)]  # in bytes, before anything and after each width

    @property
    def convolves(self) -> bool:
        """Whether the model convolves."""
        return anatomy_of(self._recipe, self._setting.batch_size).convolves

    def solo(self) -> Try:
        """One trial alone, as solo trials are trained."""
        trial = SoloTrial(self._recipe, self._admission(0))

        def attempt() -> int:
            trial.advance()
            return self._updates

        return attempt

    def rows(self, convolutions: str, width: int) -> Try:
        """Rows of one population, which trains all of them at once or raises MemoryError.

        Untraced: a trace takes as long as all that is measured here. So rows may turn out faster than
        measured, narrow ones most of all.
        """
        population = self._populations.get(convolutions)
        if population is None:
            population = self._populations[convolutions] = Population(
                dataclasses.replace(self._recipe, convolutions=convolutions),
                optimizer=self._setting.optimizer,
                batch_size=self._setting.batch_size,
                width=_ANY_WIDTH,
                trace_after=_NEVER,
                two_groups=self._setting.two_groups,
            )

        def attempt() -> int:
            for slot in range(width):
                if not population.holds(slot):  # it has diverged, or was not there yet
                    population.admit(self._admission(slot), slot)
            try:
                outcomes = population.advance(range(width))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryError(str(error)) from error
            if population.width < width:
                raise MemoryError(f"{width} rows do not fit")
            return len(outcomes) * self._updates

        return attempt

    def has_room(self) -> bool:
        """Whether every worker may take what the last width took, and twice what it took more."""
        device = self._recipe.device
        self._peaks.append(peak_memory(device))
        first, *_, before, last = [self._peaks[0], *self._peaks]
        wanted = self._data_bytes + last - first + 2 * (last - before)
        return self._workers * wanted <= SHARE_OF_MEMORY * free_memory(device)

    def _admission(self, number: int) -> Admission:
        return Admission(number=number, seed=0, setting=self._setting)


def _recipe(question: SpeedQuestion) -> Recipe:
    arguments = tuple(sorted(question.setting.task_arguments.items()))
    known = task_class(question.task)
    return Recipe(
        task=make_task(question.task, arguments),
        data=task_data(question.task, arguments),
        epochs=_EPOCHS,
        metric="val_loss",
        device=torch.device(question.device),
        precision=question.precision,
        functions=known.functions,
        optimizers=known.optimizers,
    )


def _plain(setting: Setting) -> Setting:
    """The same optimizer without a schedule, at a rate that changes next to nothing."""
    arguments = {**setting.arguments, "lr": _TINY_RATE}
    return dataclasses.replace(setting, arguments=arguments, schedule=Schedule(), warmup_epochs=0)


def _cut(recipe: Recipe, batch_size: int, updates: int) -> Recipe:
    """An epoch of fewer updates, and of the validation examples the same share, on the device."""
    data = recipe.data
    share = updates / data.updates_per_epoch(batch_size)
    validated = max(_FEWEST_VALIDATED, math.ceil(share * len(data.validation_inputs)))
    few = dataclasses.replace(
        data,
        validation_inputs=data.validation_inputs[:validated],
        validation_targets=data.validation_targets[:validated],
    )
    if data.full_batch_updates is not None:
        few = dataclasses.replace(few, full_batch_updates=updates)
    else:
        trained = slice(0, updates * batch_size)
        few = dataclasses.replace(
            few, train_inputs=data.train_inputs[trained], train_targets=data.train_targets[trained]
        )
    return dataclasses.replace(recipe, data=few.to(recipe.device))


def _seconds_of_update(recipe: Recipe, setting: Setting, clock: Clock) -> float:
    """Of one trial alone, its share of the evaluation included."""
    attempt = TaskBenches(_cut(recipe, setting.batch_size, 1), setting).solo()
    found = []
    for _ in range(_PILOTS):
        before = clock()
        attempt()
        found.append(clock() - before)
    return max(min(found), SHORTEST_SECONDS)


def _device_clock() -> float:
    """Seconds, when the GPU has done what it was given."""
    torch.cuda.synchronize()
    return perf_counter()


@contextmanager
def as_a_worker(*, on_gpu: bool) -> Iterator[None]:
    """PyTorch's switches of this process as a worker of rows has them, and back as they were."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if on_gpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if on_gpu:  # not otherwise: asking PyTorch loads its compiler
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
        release_cached_memory()


def numbers_moved(task: str, setting: Setting) -> int:
    """Parameters of the model x examples of a batch: what tells a heavy update from a light one."""
    model = initial_model(make_task(task, tuple(sorted(setting.task_arguments.items()))), 0)
    return setting.batch_size * sum(parameter.numel() for parameter in model.parameters())
