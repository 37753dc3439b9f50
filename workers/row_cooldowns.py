"""Row cooldowns: copies of rows of a population, many at once, cooled down from the epoch just trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from workers.cooldown import Cooled, cooled
from workers.cooldown_rates import cooldown_rates
from workers.epoch_training import EpochTraining
from workers.messages import Diverged, Measured
from workers.outcomes import judge
from workers.population_rows import Turn, numbers_of
from workers.stacked_model import Rows


def cool_down(
    training: EpochTraining,
    live: Rows,
    state: Mapping[str, Tensor],
    turns: Sequence[Turn],
    *,
    epochs: int,
    metric: str,
) -> list[Cooled]:
    """How the rows ``live``, with their optimizer's ``state``, end after a cooldown of ``epochs``.

    ``turns``: the epochs that they have just trained. They train on in place with the epochs, batches and
    random masks that follow; a row that diverges goes on beside the others, unheard.
    """
    rates = [cooldown_rates(turn.epoch.rates, epochs) for turn in turns]
    memories: Sequence[tuple[Mapping[str, float], ...]] = [turn.row.memories for turn in turns]
    outcomes: list[list[Measured | Diverged]] = [[] for _ in turns]
    for ahead in range(epochs):
        rows = [
            replace(turn.epoch, epoch=turn.epoch.epoch + ahead + 1, rates=own[ahead], memories=memory)
            for turn, own, memory in zip(turns, rates, memories, strict=True)
        ]
        last = ahead + 1 == epochs
        trained = training.train(live, state, rows, measures=last)
        memories = trained.memories
        for index, (turn, row) in enumerate(zip(turns, rows, strict=True)):
            numbers = numbers_of(turn.row, row, trained, index)
            outcomes[index].append(judge(numbers, metric if last else None))
    return [cooled(shown, metric) for shown in outcomes]
