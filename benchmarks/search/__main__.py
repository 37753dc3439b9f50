"""``python -m benchmarks.search --data FILE.npz --configs FILE.json --costs 2,4,8,16 [--json]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.baselines import BASELINES
from benchmarks.search.curves import BadCurves, load
from benchmarks.search.decay_fair import decay_fair
from benchmarks.search.replay import Replayed, replay
from benchmarks.search.schedules import progress_of

FEWEST_DRAWS = 100  # that count


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay as the command line says; 2 where a file or an option cannot be used."""
    parser = _parser()
    wanted = parser.parse_args(arguments)
    try:
        pool = load(wanted.data, wanted.configs)
    except BadCurves as error:
        print(f"search: {error}", file=sys.stderr)
        return 2
    repeats = len(pool.accuracy)
    if not 0 <= wanted.repeat < repeats:
        parser.error(f"--repeat {wanted.repeat}: the data have repeats 0 to {repeats - 1}")
    if min(wanted.costs) < 1:
        parser.error(f"--costs {min(wanted.costs):g}: wants one whole training or more")
    ours = partial(decay_fair, progress=progress_of(pool.settings, pool.epochs))
    methods = {**BASELINES, "decay_fair": ours}
    found = replay(pool, methods, wanted.costs, draws=wanted.draws, repeat=wanted.repeat, seed=wanted.seed)
    print(json.dumps(_plain(found, pool.tasks, wanted)) if wanted.json else told(found))
    return 0


def told(found: Sequence[Replayed]) -> str:
    """A table of mean regrets, the best method of each cost first."""
    lines = [f"{'cost':>5}  {'method':<18} {'regret':>8}  {'error':>7}  {'spent':>6}"]
    for one in sorted(found, key=lambda one: (one.cost, one.regret.mean())):
        error = one.by_task.std(ddof=1) / np.sqrt(len(one.by_task)) if len(one.by_task) > 1 else 0.0
        lines.append(
            f"{one.cost:5g}  {one.method:<18} {one.regret.mean():8.4f}  {error:7.4f}  {one.spent:6.2f}"
        )
    return "\n".join(lines)


def _plain(found: Sequence[Replayed], tasks: Sequence[str], wanted: argparse.Namespace) -> dict[str, Any]:
    return {
        "draws": wanted.draws,
        "counts": wanted.draws >= FEWEST_DRAWS,
        "repeat": wanted.repeat,
        "results": [
            {
                "method": one.method,
                "cost": one.cost,
                "spent": one.spent,
                "regret": float(one.regret.mean()),
                "by_task": dict(zip(tasks, one.by_task.tolist(), strict=True)),
            }
            for one in found
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="npz: acc (repeats, tasks, settings, epochs)"
    )
    parser.add_argument("--configs", type=Path, required=True, help="JSON: settings by number")
    parser.add_argument("--costs", type=_costs, default=(4.0,), help="whole trainings, such as 2,4,8,16")
    parser.add_argument("--draws", type=_positive, default=FEWEST_DRAWS, help="random orders of each task")
    parser.add_argument("--repeat", type=int, default=0, help="which of the data's repeats")
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")
    parser.add_argument("--json", action="store_true", help="one JSON object, with the regret of each task")
    return parser


def _costs(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
