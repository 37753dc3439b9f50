"""docs/parity.md, made from a real run: ``python -m tests.parity_page``.

Draws more trainings of each class than the unit tests do, compares them with the plain torch loop, and
writes the page; where anything disagrees it says so, writes nothing and exits with 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workers.process_environment import prepare

prepare(os.environ)  # before anything multiplies

import torch  # noqa: E402

from tests.unit.parity_comparison import (  # noqa: E402
    AMPLIFICATION,
    TOLERANCE,
    Comparison,
    compared_solo,
    compared_stacked,
    norm_of,
)
from tests.unit.parity_draws import (  # noqa: E402
    BATCH,
    EPOCHS,
    OPTIMIZER_SCHEDULES,
    SCHEDULES,
    SOLO,
    UPDATES,
    drawn,
)
from tests.unit.parity_float32 import BATCH as DIGITS_BATCH  # noqa: E402
from tests.unit.parity_float32 import UPDATES_MADE, float32_differences  # noqa: E402
from tests.unit.parity_runs import NoisyWave  # noqa: E402
from workers.update_rules import UPDATE_RULES  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
ROUNDS = 4
HEAD = "| class | trains | compared | cases | diverged | rates apart | weights apart | chaotic |\n"
RULE = "|---|---|---|--:|--:|--:|--:|--:|\n"
STACKED = "rates exactly, weights by rounding"
EXACTLY = "all of it, to the last bit"


class Page:
    """Comparisons by class, and the page that they make."""

    def __init__(self, rounds: int) -> None:
        """``rounds``: cases of each pair of stacked classes and number of parameter groups."""
        self._rounds = rounds
        self.stacked: dict[tuple[str, str], list[Comparison]] = {}  # by optimizer and schedule
        self.solo: dict[str, list[Comparison]] = {}  # by optimizer

    def run(self) -> Iterator[str]:
        """Train everything; yields what disagrees."""
        for optimizer in UPDATE_RULES:
            for two_groups, round_ in self._repeats():
                for schedule in SCHEDULES:
                    found = compared_stacked(schedule, optimizer, two_groups, round_)
                    self.stacked.setdefault((optimizer, schedule), []).append(found)
                    yield from found.disagreements()
            _say(f"{optimizer}: {len(SCHEDULES) * len(self._repeats())} trainings stacked")
        for optimizer in SOLO:
            for two_groups, round_ in self._repeats():
                for schedule in OPTIMIZER_SCHEDULES:
                    found = compared_solo(drawn(schedule, optimizer, two_groups=two_groups, round_=round_))
                    self.solo.setdefault(optimizer, []).append(found)
                    yield from found.disagreements(exactly=True)
            _say(f"{optimizer}: {len(self.solo[optimizer])} trainings solo")

    def text(self) -> str:
        """The page, in Markdown."""
        schedules = "".join(
            _row(name, "stacked", STACKED, self._of(schedule=name))
            for name in SCHEDULES
            if name != "constant"
        )
        optimizers = "".join(
            _row(name, "stacked", STACKED, self._of(optimizer=name)) for name in UPDATE_RULES
        ) + "".join(_row(name, "solo", EXACTLY, self.solo[name]) for name in SOLO)
        everyone = [one for found in self.stacked.values() for one in found]
        parameters = [
            sum(p.numel() for p in NoisyWave(norm_of(groups)).model().parameters())
            for groups in (False, True)
        ]
        return TEXT.format(
            schedules=HEAD + RULE + schedules,
            optimizers=HEAD + RULE + optimizers,
            machine=f"PyTorch {torch.__version__}, {_processor()}, one thread",
            updates=EPOCHS * UPDATES,
            epochs=EPOCHS,
            updates_per_epoch=UPDATES,
            batch=BATCH,
            layer_parameters=parameters[0],
            batch_parameters=parameters[1],
            rows=len(SCHEDULES),
            cases=len(everyone),
            solo_cases=sum(len(found) for found in self.solo.values()),
            median=f"{sorted(one.error for one in everyone if not one.diverged)[_middle(everyone)]:.0e}",
            tolerance=f"{TOLERANCE:.0e}",
            amplification=f"{AMPLIFICATION:.0f}",
            rounds=self._rounds,
            schedule_names=", ".join(f"`{name}`" for name in OPTIMIZER_SCHEDULES),
            float32=_float32(),
        )

    def _repeats(self) -> list[tuple[bool, int]]:
        return [(two_groups, round_) for two_groups in (False, True) for round_ in range(self._rounds)]

    def _of(self, *, optimizer: str | None = None, schedule: str | None = None) -> list[Comparison]:
        return [
            one
            for (its_optimizer, its_schedule), found in self.stacked.items()
            for one in found
            if optimizer in (None, its_optimizer) and schedule in (None, its_schedule)
        ]


TEXT = """\
# Parity

A trial of Ravine is what a plain torch loop makes of the same setting. This page lists every class of `torch.optim.lr_scheduler` and `torch.optim`, how it trains, and the largest difference from such a loop that was seen in a real run ({machine}). LBFGS, SparseAdam and Muon are not offered: they want closures, sparse gradients, matrices only.

## What was compared

Each case is a training of {updates} updates ({epochs} epochs of {updates_per_epoch}, batches of {batch}) in float64, of a network with LayerNorm ({layer_parameters} parameters, one parameter group) or BatchNorm ({batch_parameters} parameters; biases and norms in a group of their own, some with a `bias_lr`). Drawn at random by hypothesis: the schedule's arguments and how often it steps, the optimizer's arguments, learning rates, warm-up of 0 to 2 epochs, clipping by norm or none, for ReduceLROnPlateau the metric it watches. The {cases} stacked cases trained in populations of {rows} rows, one row of each schedule class and one without; the {solo_cases} others trained solo, under {schedule_names}. The other side is [a plain torch loop](../tests/unit/plain_training.py) of torch.optim's and lr_scheduler's own objects that shares the data order and the initial weights with Ravine, and nothing else.

- *rates apart*: the largest difference of learning rate or momentum of any group at any of the {updates} updates; solo, of the first group.
- *diverged*: cases that diverged, each at the same update in both; their weights are not kept.
- *weights apart*: the largest difference of any parameter at the end relative to the largest of the model (running means and variances of BatchNorm: each relative to its own largest), of the cases that are not chaotic. The median of all stacked cases is {median}.
- *chaotic*: cases in which rounding errors grow, in a plain loop as well: a plain loop whose initial weights differ by one rounding, a factor of 1 + 2^-52, ends more than {tolerance} away. In brackets how far weights were apart in these cases, and the largest ratio of that to the difference of the two plain loops; the tests allow {amplification}.

## Schedules

{schedules}
## Optimizers

{optimizers}
An optimizer class that a task brings itself trains solo, compared in the same way.

## Precision

{float32}

## What trains solo

Stacked training evaluates a model for all rows at once. What cannot be a function of one row's own numbers, or what PyTorch cannot batch, trains solo: LSTM and the other recurrent layers, `BatchNorm` with `momentum=None`, random numbers other than dropout's (`torch.randn` in `forward`), control flow that looks at the values of tensors (`if x.sum() > 0`, `.item()`), and counters that a module keeps in Python. A user's model is tried both ways when a sweep is launched, and where it trains solo the sweep says once why.

## To make this page again

`python -m tests.parity_page` trains all cases anew and writes this page, or says what disagrees and writes nothing. It draws {rounds} cases for every pair of stacked classes and number of groups; the unit tests (`tests/unit/test_parity.py`), which run with every change, draw one, for a part of the pairs.
"""


def _row(name: str, trains: str, compared: str, found: Sequence[Comparison]) -> str:
    kept = [one for one in found if not one.diverged]
    chaotic = [one for one in kept if trains == "stacked" and one.own_errors[0] > TOLERANCE]
    calm = [one for one in kept if one not in chaotic]
    ratio = max((one.error / one.own_errors[0] for one in chaotic), default=0.0)
    cells = (
        f"`{name}`",
        trains,
        compared,
        str(len(found)),
        str(len(found) - len(kept)),
        _number(max(one.path_error for one in found)),
        _number(max(one.error for one in calm)),
        f"{len(chaotic)} ({_number(max(one.error for one in chaotic))}, {ratio:.2g})" if chaotic else "0",
    )
    return f"| {' | '.join(cells)} |\n"


def _float32() -> str:
    found = float32_differences()
    return (
        f"In float32, after {UPDATES_MADE} updates of `digits-mlp` (batches of {DIGITS_BATCH}), the largest relative "
        f"difference of train_loss or val_loss between a row and the plain loop was {_number(max(found))}, of "
        f"{len(found)} trainings with {', '.join(UPDATE_RULES)} at three learning rates each."
    )


def _number(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.0e}"


def _middle(everyone: Iterable[Comparison]) -> int:
    return sum(not one.diverged for one in everyone) // 2


def _processor() -> str:
    """The processor's kind, as the system calls it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def main() -> int:
    """Exit code: 0 where the page was written, 1 where something disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity_page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="cases of each pair of stacked classes")
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    page = Page(arguments.rounds)
    disagreements = list(page.run())
    for sentence in disagreements:
        _say(sentence)
    if disagreements:
        return 1
    arguments.output.write_text(page.text())
    _say(f"{arguments.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
