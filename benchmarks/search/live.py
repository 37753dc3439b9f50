"""``python -m benchmarks.search.live --task digits-cnn [--seeds 10]``: pruners on sweeps that really train.

Each seed is a search of its own: the same settings at random, pruned by each pruner. Counted are the epochs
that were trained, in the order of the sweep's rounds, until any epoch of any trial is as good as a target:
per seed, the worse of the two pruners' best last losses, so that both reach it; and one for all seeds, the
median of the first pruner's. What never reaches a target counts as infinite.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

PRUNERS = ("asha", "decay_fair")
SWEEP = """\
task: TASK
metric: {name: val_loss, goal: minimize}
epochs: EPOCHS
optimizer: {SGD: {lr: {log: [1e-3, 1.0]}, momentum: {log1m: [0.0, 0.99]}}}
schedule:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: {int: [2, 20]}, gamma: {uniform: [0.05, 0.9]}}
  - ExponentialLR: {gamma: {uniform: [0.5, 0.99]}}
  - CosineAnnealingLR: {}
  - ReduceLROnPlateau: {factor: 0.1, patience: {int: [1, 5]}}
  - OneCycleLR: {max_lr: {log: [0.01, 1.0]}}
seed: SEED
trials: TRIALS
concurrency: 16
sampler: SAMPLER
pruner: PRUNER
execution: stacked
"""


@dataclass(frozen=True, slots=True)
class Searched:
    """What one sweep came to."""

    pruner: str
    seed: int
    best: float  # val_loss at the end of the best trial that finished
    shown: tuple[tuple[int, float], ...]  # of every epoch in the order of the rounds: what it cost, val_loss

    @property
    def epochs(self) -> int:
        """Epochs trained in all, those of cooldowns included."""
        return sum(cost for cost, _ in self.shown)

    def epochs_to(self, target: float) -> float:
        """Epochs trained until one was as good; infinite where none was."""
        spent = 0
        for cost, loss in self.shown:
            spent += cost
            if loss <= target:
                return float(spent)
        return math.inf


class _Silent:
    """Nobody watches."""

    def round_closed(self, snapshot: Any) -> None: ...

    def sweep_ended(self) -> None: ...

    def said(self, sentence: str) -> None: ...


def searched(text: str, pruner: str, seed: int) -> Searched:
    """Run the sweep of a file's text in this process."""
    from search_spaces.files import Overrides
    from sweeps.cooldowns import epoch_costs
    from sweeps.launching import run_stored_sweep
    from sweeps.records import TrialState
    from sweeps.store import open_store
    from sweeps.sweep_files import create_sweep, read_sweep_file

    with tempfile.TemporaryDirectory(prefix="ravine-live-") as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(text, encoding="utf-8")
        read = read_sweep_file(file, Overrides())
        store = open_store(f"sqlite:///{folder}/ravine.db")
        try:
            row = store.sweep(create_sweep(store, read))
            run_stored_sweep(
                store,
                row,
                read.loaded.space,
                workers=None,
                ray="none",
                speeds=Path(folder) / "speeds",
                observer=_Silent(),
                interrupted=lambda: False,
            )
            trials = {trial.number: trial for trial in store.trials(row.id)}
            costs = epoch_costs(read.loaded.space)
            trained = sorted(
                (
                    trials[one.number].admitted_round + one.epoch,
                    one.number,
                    costs[one.epoch - 1],
                    one.val_loss,
                )
                for one in store.measurements(row.id)
            )
            finished = [t.value for t in trials.values() if t.state is TrialState.finished]
            values = [value for value in finished if value is not None]
            shown = tuple((cost, loss) for *_, cost, loss in trained)
            return Searched(pruner, seed, min(values, default=math.inf), shown)
        finally:
            store.close()


def compared(found: Sequence[Searched]) -> dict[str, Any]:
    """Epochs to either target by pruner and seed, best losses, and where the second was faster."""
    by_pruner = {pruner: [one for one in found if one.pruner == pruner] for pruner in PRUNERS}
    pairs = list(zip(*by_pruner.values(), strict=True))
    own = [max(one.best for one in pair) for pair in pairs]
    common = median(first.best for first, _ in pairs)
    told: dict[str, Any] = {
        pruner: {
            "best": [one.best for one in its],
            "epochs_in_all": [one.epochs for one in its],
            "epochs_to_own_target": [one.epochs_to(t) for one, t in zip(its, own, strict=True)],
            "epochs_to_common_target": [one.epochs_to(common) for one in its],
        }
        for pruner, its in by_pruner.items()
    }
    ratios = [second.epochs_to(t) / first.epochs_to(t) for (first, second), t in zip(pairs, own, strict=True)]
    return {
        **told,
        "common_target": common,
        "own_targets": own,
        "ratio_to_own_target": ratios,
        "faster_on": sum(ratio < 1 for ratio in ratios),
        "better_best_on": sum(second.best < first.best for first, second in pairs),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, and print a table; with ``--json`` one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search.live", description=__doc__)
    parser.add_argument("--task", default="digits-cnn")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--decay-fair", default="{}", help="its arguments, as in a sweep file")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args(arguments)
    found = []
    for seed in range(wanted.first_seed, wanted.first_seed + wanted.seeds):
        for pruner in PRUNERS:
            text = SWEEP
            given = f"{{decay_fair: {wanted.decay_fair}}}" if pruner == "decay_fair" else pruner
            for name, value in (
                ("TASK", wanted.task),
                ("EPOCHS", wanted.epochs),
                ("SEED", seed),
                ("TRIALS", wanted.trials),
                ("SAMPLER", wanted.sampler),
                ("PRUNER", given),
            ):
                text = text.replace(name, str(value))
            found.append(searched(text, pruner, seed))
            one = found[-1]
            print(
                f"seed {seed} {pruner}: best {one.best:.5g}, {one.epochs} epochs", file=sys.stderr, flush=True
            )
    told = compared(found)
    print(json.dumps(told) if wanted.json else _table(told))
    return 0


def _table(told: dict[str, Any]) -> str:
    lines = []
    for pruner in PRUNERS:
        for name, values in told[pruner].items():
            low, middle, high = min(values), median(values), max(values)
            lines.append(f"{pruner:<11} {name:<24} median {middle:9.5g}  [{low:.5g} to {high:.5g}]")
    ratios = told["ratio_to_own_target"]
    lines.append(
        f"epochs to the target both reach, decay_fair / asha: median {median(ratios):.3g} "
        f"[{min(ratios):.3g} to {max(ratios):.3g}], faster on {told['faster_on']} of {len(ratios)} seeds; "
        f"a better best on {told['better_best_on']}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
