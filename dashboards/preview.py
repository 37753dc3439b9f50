"""A sweep file's preview: what it would train, what that would cost, and a picture of its schedules."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from dashboards.budget_words import budget_lines
from dashboards.live_view import describe, describe_schedule, duration, short
from dashboards.range_test_preview import range_test_preview
from dashboards.verdict_words import confirming_words
from search_spaces.errors import counted, shorten
from search_spaces.grid import settings_at_most
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.samplers import learns
from search_spaces.settings import Beginning, Setting
from search_spaces.space import SearchSpace
from sweeps.cooldowns import cooldown_of, epoch_costs
from sweeps.errors import RavineError
from sweeps.execution_plan import execution_plan, told_of_plan
from workers.messages import Admission, Failed, Orders, WorkerSetup
from workers.prefixes import prefixes
from workers.rehearsal import rehearsed_path
from workers.worker import Worker

CALIBRATION_WIDTH = 16
PICTURE_COLUMNS = 60
WIDEST_BRANCH = 44  # characters
MOST_DRAWN = 30  # schedules: a screenful
_BARS = " ▁▂▃▄▅▆▇█"


def print_preview(console: Console, space: SearchSpace) -> None:
    """Print counts, a measured estimate of the cost, and each schedule at the middle of its ranges."""
    space = replace(space, trials=settings_at_most(space))
    trials = space.trials * len(space.seeds)
    epochs = trials * space.epochs
    console.print(
        f"{space.name}: {counted(space.trials, 'setting')} x {counted(len(space.seeds), 'seed')} = "
        f"{counted(trials, 'trial')}, at most {counted(epochs, 'epoch')} of {space.task}",
        soft_wrap=True,
    )
    with redirect_stdout(sys.stderr):  # what a task's own code prints is no part of the preview
        plan = execution_plan(space)
        seconds = None if plan["execution"] == "loop" else _seconds_per_trial_epoch(space, plan)
        trained = _trained_by_rows(space) if space.branches and plan["execution"] == "stacked" else None
    if space.branches:
        console.print(f"{len(space.schedules)} branches for each proposal: {_proposals(space)}")
    if space.start:
        console.print("\n".join(_told_first(space)), soft_wrap=True)
    if trained is not None:
        asked = len(space.schedules) * space.epochs
        console.print(
            f"{trained} of a proposal's {asked} epochs are trained: what branches share is trained once"
        )
        epochs = -(-epochs * trained // asked)
    if plan["execution"] != "loop":
        epochs = _with_cooldowns(console, space, epochs)
    if space.confirm is not None:
        more = min(space.confirm.top, space.trials) * space.confirm.seeds * space.epochs
        console.print(f"then at most {more} epochs more: {confirming_words(space.confirm, space.trials)}")
        epochs += more
    for sentence in told_of_plan(plan):
        console.print(f"note: {sentence}", soft_wrap=True)
    console.print(_cost(epochs, seconds))
    for sentence in range_test_preview(space, plan, seconds):
        console.print(sentence, soft_wrap=True)
    for line in budget_lines(space, epochs=epochs, epoch_seconds=seconds, workers=_cores()):
        console.print(line, soft_wrap=True)
    table = Table(title="learning rate over training", title_justify="left", box=None, pad_edge=False)
    for name in ("schedule", "rate by epoch", "first", "peak", "last"):
        table.add_column(
            name, no_wrap=True, justify="left" if name in ("schedule", "rate by epoch") else "right"
        )
    for label, setting in islice(_middles(space), MOST_DRAWN):
        rates = _rates(space, setting)
        table.add_row(label, sparkline(rates), short(rates[0]), short(max(rates)), short(rates[-1]))
    console.print(table)
    if len(space.schedules) > MOST_DRAWN:
        console.print(f"... and {len(space.schedules) - MOST_DRAWN} more schedules")
    console.print(f"for example: {describe(next(iter(_middles(space)))[1].to_json())}")


def _told_first(space: SearchSpace) -> Iterator[str]:
    """Which points come first."""
    rest = "drawn at random" if not learns(space.sampler) else f"chosen by {space.sampler}"
    if space.sampler == "grid":
        rest = "first of the grid"
    yield f"proposed first, what they leave out {rest}:"
    for point in space.start:
        yield f"  {point.told} ({point.origin})"


def _with_cooldowns(console: Console, space: SearchSpace, epochs: int) -> int:
    """``epochs`` of trials and their cooldowns, which are told."""
    cooldown = cooldown_of(space)
    if cooldown is None:
        return epochs
    each, after = len(cooldown.at) * cooldown.epochs, ", ".join(map(str, cooldown.at))
    console.print(
        f"cooldowns of {cooldown.epochs} epoch{'s' if cooldown.epochs > 1 else ''} after a trial's epochs "
        f"{after}: at most {each} epoch{'s' if each > 1 else ''} a trial more",
        soft_wrap=True,
    )
    return -(-epochs * sum(epoch_costs(space)) // space.epochs)


def _proposals(space: SearchSpace) -> str:
    """How many proposals there are where each has all branches."""
    if space.sampler == "grid":
        return f"each point of the other settings' grid, up to {space.trials} settings"
    whole, rest = divmod(space.trials, len(space.schedules))
    counted = f"{whole} proposal{'' if whole == 1 else 's'}"
    return f"{counted}, and {rest} of the branches of one more" if rest else counted


def _trained_by_rows(space: SearchSpace) -> int:
    """Epochs that rows train for all branches of a proposal, as far as schedules tell before training."""
    alike: dict[Beginning, list[Setting]] = {}
    for _, setting in _middles(space):
        alike.setdefault(setting.beginning, []).append(setting)
    found = [prefixes(space.task, space.epochs, settings) for settings in alike.values()]
    return sum(len(set(rows)) for family in found for rows in zip(*family, strict=True))


def _cost(epochs: int, seconds: float | None) -> str:
    """What ``epochs`` cost at ``seconds`` each; None where that is not measured."""
    if seconds is None:
        return (
            f"cost without pruning: {epochs} epochs of the task's own training loop; "
            "how long one takes is not tried"
        )
    cores = _cores()
    return (
        f"cost without pruning: about {duration(epochs * seconds)} of one core, "
        f"{duration(epochs * seconds / cores)} on the {cores} cores here "
        f"({1000 * seconds:.1f} ms a trial-epoch, measured just now)"
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sparkline(values: Sequence[float], columns: int = PICTURE_COLUMNS) -> str:
    """Values as bars from zero to their largest, at most ``columns`` of them."""
    count = min(columns, len(values))
    picked = [values[index * len(values) // count] for index in range(count)]
    largest = max(picked) or 1.0
    return "".join(_BARS[round(value / largest * (len(_BARS) - 1))] for value in picked)


def _middles(space: SearchSpace) -> Iterator[tuple[str, Setting]]:
    """Each schedule with the first optimizer, every range at its middle."""
    for index, schedule in enumerate(space.schedules):

        def middle(name: str, range_: Numeric | Choice, index: int = index) -> Value:
            if name == "schedule":
                return index
            return 0 if name == "optimizer" else range_.at(0.5)

        setting = space.draw(middle)
        told = shorten(describe_schedule(setting.to_json()), WIDEST_BRANCH)
        yield told if space.branches else schedule.label, setting


def _rates(space: SearchSpace, setting: Setting) -> list[float]:
    """The learning rate of every update, as far as it is known before training."""
    path = rehearsed_path(space, setting)
    return [rate for epoch in range(1, space.epochs + 1) for rate in path.rates(epoch)[0].tolist()]


def _seconds_per_trial_epoch(space: SearchSpace, plan: Mapping[str, Any]) -> float:
    """Measured on one thread: an epoch from the middle of the space, as the plan trains, after a warm one."""
    _, setting = next(iter(_middles(space)))
    width = min(CALIBRATION_WIDTH, space.concurrency) if plan["execution"] == "stacked" else 1
    worker = Worker(
        WorkerSetup(
            task=space.task,
            metric=space.metric.name,
            epochs=max(2, space.epochs),
            execution=plan["execution"],
            device=plan["device"],
            precision=plan["precision"],
            width=width,
        )
    )
    numbers = tuple(range(width))
    admit = tuple(Admission(number=number, seed=space.seeds[0], setting=setting) for number in numbers)
    first = worker.carry_out(Orders(lane=0, round=1, admit=admit, advance=numbers))
    for outcome in first.outcomes:
        if isinstance(outcome, Failed):
            raise RavineError(f"{space.task} cannot be trained: {outcome.message}")
    began = perf_counter()
    worker.carry_out(Orders(lane=0, round=2, advance=numbers))
    return (perf_counter() - began) / width
