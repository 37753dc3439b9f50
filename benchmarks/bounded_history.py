"""What it costs the search that TPE is shown only some of a long sweep's ended settings, and what it saves.

The same sweeps are searched twice, with every ended setting shown and with a bound on them, on response
surfaces made after those of momentum SGD: learning rate, momentum and decay belong together, there is an edge
beyond which training diverges, and the best is near it. Seeds are the sweeps' own, so that both searches are
the same until the bound is reached. Regret is the best result so far less the best there is, which is 0.

``python -m benchmarks.bounded_history [--settings N] [--seeds N] [--bound BEST,NEWEST,REST ...]``
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

from search_spaces.ranges import Log, LogOneMinus, Uniform
from search_spaces.settings import Setting
from search_spaces.space import Metric, OptimizerSpace, ScheduleSpace, SearchSpace
from sweeps.bounded_history import BEST, NEWEST, REST, BoundedHistory
from sweeps.proposals import Proposals

EPOCHS = 20
OPEN_AT_ONCE = 16
LAST = 200  # proposals whose mean result says where a search has come to

Surface = Callable[[Setting], float | None]
"""A setting's result; None where it diverges."""
Bound = tuple[int, int, int]
"""Of the best, the newest, and the rest."""
EVERYTHING: Bound = (10**9, 0, 0)


@dataclass(frozen=True, slots=True)
class Search:
    """What one search found."""

    regret: dict[int, float]  # the best so far, by how many settings had ended
    last: float  # median result of the last proposals that did not diverge
    diverged: float  # share of the last proposals
    ask_ms: float  # of the processor, the mean of the last proposals


def space(seed: int) -> SearchSpace:
    """Learning rate, momentum and weight decay of SGD, and how fast the learning rate decays."""
    return SearchSpace(
        name="surface",
        task="none",
        metric=Metric(name="val_loss", goal="minimize"),
        epochs=EPOCHS,
        trials=1_000_000,
        sampler="tpe",
        seed=seed,
        optimizers=(
            OptimizerSpace(
                name="SGD",
                label="SGD",
                arguments={
                    "lr": Log(low=1e-4, high=1.0),
                    "momentum": LogOneMinus(low=0.0, high=0.99),
                    "weight_decay": Log(low=1e-6, high=1e-2),
                },
            ),
        ),
        schedules=(
            ScheduleSpace(
                name="ExponentialLR",
                label="ExponentialLR",
                arguments={"gamma": Uniform(low=0.7, high=1.0)},
            ),
        ),
    )


def valley(setting: Setting) -> float | None:
    """A curved valley along the effective rate lr / (1 - momentum); a longer decay wants a larger rate."""
    rate, inertia, decayed = _numbers(setting)
    if rate > 0.6:
        return None
    return (
        (rate + 0.5 - 0.3 * decayed) ** 2
        + 0.3 * (inertia + 1.0) ** 2
        + 0.2 * (decayed - 0.8) ** 2
        + _regularised(setting)
    )


def edge(setting: Setting) -> float | None:
    """The best is at the edge of divergence: flat far from it, steep in front of it, nothing behind it."""
    rate, inertia, decayed = _numbers(setting)
    distance = 0.2 + 0.25 * decayed - rate
    if distance < 0:
        return None
    return (
        math.log1p(4 * distance)
        + 0.2 * (inertia + 1.2) ** 2
        + 0.3 * (decayed - 1.0) ** 2
        + _regularised(setting)
    )


def basins(setting: Setting) -> float | None:
    """A wide basin without momentum that is good, and a narrower one with much of it that is best."""
    rate, inertia, decayed = _numbers(setting)
    if rate > 1.0:
        return None
    wide = 0.05 + 0.3 * (rate + 1.2) ** 2 + 0.1 * (inertia + 0.2) ** 2
    narrow = 1.5 * (rate + 0.1) ** 2 + 1.5 * (inertia + 1.6) ** 2 + 0.3 * (decayed - 1.3) ** 2
    return min(wide, narrow) + _regularised(setting)


SURFACES: dict[str, Surface] = {"valley": valley, "edge": edge, "basins": basins}


def _numbers(setting: Setting) -> tuple[float, float, float]:
    """In powers of ten: effective rate, what momentum leaves of a step, and by how much the rate decays."""
    lr, momentum = (float(str(setting.arguments[name])) for name in ("lr", "momentum"))
    decayed = -EPOCHS * math.log10(float(str(setting.schedule.arguments["gamma"])))
    return math.log10(lr / (1.0 - momentum)), math.log10(1.0 - momentum), decayed


def _regularised(setting: Setting) -> float:
    """What weight decay adds; nothing at best."""
    return 0.02 * (math.log10(float(str(setting.arguments["weight_decay"]))) + 3.5) ** 2


def search(surface: Surface, seed: int, settings: int, bound: Bound) -> Search:
    """Search a surface with TPE, some settings open at once."""
    best, newest, rest = bound
    proposals = Proposals(space(seed), BoundedHistory(best=best, newest=newest, rest=rest))
    found: list[float | None] = []
    least = math.inf
    regret: dict[int, float] = {}
    seconds: list[float] = []
    while len(found) < settings:
        asked = []
        for _ in range(OPEN_AT_ONCE):
            began = process_time()
            asked += proposals.ask(1)
            seconds.append(process_time() - began)
        for one in asked:
            result = surface(one.setting)
            if result is not None:
                proposals.report(one.index, EPOCHS, result)
                least = min(least, result)
            proposals.end(one.index, "pruned" if result is None else "finished")
            found.append(result)
            regret[len(found)] = least
    last = found[-LAST:]
    shown = [result for result in last if result is not None]
    return Search(
        regret=regret,
        last=statistics.median(shown),
        diverged=1 - len(shown) / len(last),
        ask_ms=1000 * statistics.fmean(seconds[-LAST:]),
    )


def compare(surfaces: Sequence[str], bounds: Sequence[Bound], settings: int, seeds: int) -> None:
    """Print, for each surface and bound, the median over the seeds and their range."""
    marks = [settings // 4, settings // 2, settings]
    print(f"{settings} settings, {seeds} seeds, {OPEN_AT_ONCE} open at once; regret: median [least, most]")
    for name in surfaces:
        for bound in (EVERYTHING, *bounds):
            searches = [search(SURFACES[name], seed, settings, bound) for seed in range(seeds)]
            regrets = []
            for mark in marks:
                values = [one.regret[mark] for one in searches]
                regrets.append(
                    f"{mark}: {statistics.median(values):.4f} [{min(values):.4f}, {max(values):.4f}]"
                )
            told = "all shown" if bound == EVERYTHING else "shown {}+{}+{}".format(*bound)
            last = statistics.median(one.last for one in searches)
            diverged = statistics.fmean(one.diverged for one in searches)
            ask = statistics.median(one.ask_ms for one in searches)
            print(
                f"{name:7} {told:20} {'  '.join(regrets)}  last {LAST}: {last:.4f}, "
                f"{100 * diverged:.0f} % diverged, {ask:.1f} ms an ask",
                flush=True,
            )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--surface", nargs="+", choices=sorted(SURFACES), default=sorted(SURFACES))
    parser.add_argument("--bound", nargs="+", default=[f"{BEST},{NEWEST},{REST}"], metavar="BEST,NEWEST,REST")
    given = parser.parse_args()
    bounds: list[Bound] = []
    for text in given.bound:
        best, newest, rest = (int(part) for part in text.split(","))
        bounds.append((best, newest, rest))
    compare(given.surface, bounds, given.settings, given.seeds)


if __name__ == "__main__":
    main()
