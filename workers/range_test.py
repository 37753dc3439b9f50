"""The learning-rate range test: rates that rise, then rates that are held, at a few momenta."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence

import torch

from search_spaces.ranges import Value
from search_spaces.settings import Schedule, Setting
from workers.optimization import optimizer_class
from workers.range_question import HELD_SHARE, RangeQuestion
from workers.range_trials import RangeTrials, Trial
from workers.rate_curves import (
    RateFinding,
    Rise,
    coarse_rates,
    edge_of,
    ending_loss,
    fine_rates,
    rise_of,
    rising_rates,
)
from workers.recipe import Recipe, numeric_settings
from workers.speed_benches import as_a_worker
from workers.tasks.registry import make_task, task_class, task_data


def range_test(question: RangeQuestion, stopped: Callable[[], bool]) -> tuple[RateFinding, ...]:
    """What ``question`` asks for, by momentum: a function of the question alone.

    ``stopped`` is asked between epochs. Raises Stopped, and what the task raises, SystemExit too.
    """
    on_gpu = question.device == "cuda"
    with as_a_worker(on_gpu=on_gpu), numeric_settings(question.precision):
        trials = RangeTrials(
            _recipe(question),
            question.setting,
            updates=question.updates,
            stacked=question.stacked,
            stopped=stopped,
        )
        return _Test(question, trials).findings()


class _Test:
    """One test, in the order of its three parts."""

    def __init__(self, question: RangeQuestion, trials: RangeTrials) -> None:
        self._question = question
        self._trials = trials
        self._bases = [with_momentum(question.setting, momentum) for momentum in question.momenta]

    def findings(self) -> tuple[RateFinding, ...]:
        question = self._question
        rates = rising_rates(question.low, question.high, question.updates)
        gamma = (question.high / question.low) ** (1 / (question.updates - 1))
        rising = Schedule(name="ExponentialLR", arguments={"gamma": gamma}, every="step")
        means = self._means([(base, rising, question.low) for base in self._bases], question.updates)
        rises = [rise_of(rates, losses) for losses in means]
        held: list[dict[float, float]] = [{} for _ in rises]
        self._hold(held, [coarse_rates(rise, question.high) for rise in rises])
        self._hold(held, [fine_rates(rise, own) for rise, own in zip(rises, held, strict=True)])
        return tuple(self._finding(*found) for found in zip(self._bases, rises, held, strict=True))

    def _finding(self, base: Setting, rise: Rise, held: Mapping[float, float]) -> RateFinding:
        return RateFinding(
            momentum=self._trials.momentum_of(base),
            rise=rise,
            held=tuple((rate, loss if math.isfinite(loss) else None) for rate, loss in sorted(held.items())),
            edge=edge_of(rise, held),
        )

    def _hold(self, held: Sequence[dict[float, float]], wanted: Sequence[tuple[float, ...]]) -> None:
        """Hold each momentum's ``wanted`` rates, and note the losses that they end with."""
        places = [(index, rate) for index, rates in enumerate(wanted) for rate in rates]
        constant = Schedule()
        found = self._means(
            [(self._bases[index], constant, rate) for index, rate in places],
            round(HELD_SHARE * self._question.updates),
        )
        for (index, rate), losses in zip(places, found, strict=True):
            held[index][rate] = ending_loss(losses)

    def _means(self, wanted: Sequence[tuple[Setting, Schedule, float]], updates: int) -> list[list[float]]:
        """The loss at each update, its mean over the seeds, of each setting with a schedule and a rate."""
        seeds = self._question.seeds
        trials: list[Trial] = [
            (dataclasses.replace(base, arguments={**base.arguments, "lr": rate}, schedule=schedule), seed)
            for base, schedule, rate in wanted
            for seed in seeds
        ]
        losses = self._trials.losses(trials, updates) if trials else []
        return [
            [_mean(at_update) for at_update in zip(*losses[first : first + len(seeds)], strict=True)]
            for first in range(0, len(losses), len(seeds))
        ]


def with_momentum(setting: Setting, momentum: float | None) -> Setting:
    """The setting with another momentum: ``momentum``, or the first of ``betas``; None leaves it."""
    if momentum is None:
        return setting
    known = inspect.signature(optimizer_class(setting.optimizer)).parameters
    arguments: dict[str, Value] = dict(setting.arguments)
    if "momentum" in known:
        arguments["momentum"] = momentum
        if arguments.get("nesterov") and not momentum:
            arguments["nesterov"] = False
    elif "betas" in known:
        betas = arguments.get("betas", known["betas"].default)
        arguments["betas"] = (momentum, *(betas[1:] if isinstance(betas, tuple) else ()))
    return dataclasses.replace(setting, arguments=arguments)


def _mean(losses: Sequence[float]) -> float:
    return math.fsum(losses) / len(losses) if all(map(math.isfinite, losses)) else math.inf


def _recipe(question: RangeQuestion) -> Recipe:
    arguments = tuple(sorted(question.setting.task_arguments.items()))
    known = task_class(question.task)
    return Recipe(
        task=make_task(question.task, arguments),
        data=task_data(question.task, arguments),
        epochs=question.updates,
        metric="val_loss",
        device=torch.device(question.device),
        precision=question.precision,
        convolutions=question.convolutions,
        functions=known.functions,
        optimizers=known.optimizers,
    )
