"""Prefixes: how far trials that begin alike train alike, told from their schedules before they train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from search_spaces.settings import Setting
from workers.equivalence import training_horizon
from workers.schedule_table import rate_bits, schedule_path, starting_rates
from workers.tasks.registry import task_class

Prefix = tuple[int, ...]
"""By epoch, the position of the first setting whose rates are the same in all epochs so far."""


def prefixes(task: str, epochs: int, settings: Sequence[Setting]) -> list[Prefix]:
    """The prefix of each of ``settings``, which differ in their schedule only.

    A schedule that watches a metric is taken to stay where it is: when it acts is known only when it does.
    """
    known = task_class(task)
    horizon = training_horizon(task, epochs, settings[0])
    own_code = known.functions, known.optimizers
    starts = [starting_rates(setting, horizon, *own_code) for setting in settings]
    shared = {start for start, count in Counter(starts).items() if count > 1}
    paths = {
        position: schedule_path(setting, horizon, *own_code)
        for position, setting in enumerate(settings)
        if starts[position] in shared  # a table takes milliseconds, and who starts alone stays alone
    }
    found = [[position] * epochs for position in range(len(settings))]
    so_far = dict.fromkeys(paths, 0)
    for epoch in range(1, epochs + 1):
        firsts: dict[object, int] = {}
        for position, path in paths.items():
            key = so_far[position], rate_bits(path.group_rates(epoch))
            so_far[position] = firsts.setdefault(key, position)
            found[position][epoch - 1] = so_far[position]
    return [tuple(prefix) for prefix in found]
