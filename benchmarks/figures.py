"""The figures that Ravine is held to: what each must be, what is aimed at, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.decay_study import BOUND
from benchmarks.machine import Between
from benchmarks.series import Series, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table; larger is better."""

    key: str  # as --only names it
    told: str
    must: float
    aim: float
    unit: str = "x"  # x: times as fast | %
    bounded_by: str  # what keeps it from being larger

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{100 * value:.0f} %" if self.unit == "%" else f"{number(value)}x"


FIGURES: Mapping[str, Figure] = {
    figure.key: figure
    for figure in (
        Figure(
            key="digits",
            told="digits-mlp, trial-steps/s, Ravine stacked / hand loop in 2 processes",
            must=5,
            aim=8,
            bounded_by="rows share Python and dispatch, not arithmetic: the bound is the arithmetic limit",
        ),
        Figure(
            key="limit",
            told="digits-mlp, share of the calibrated arithmetic limit",
            must=0.40,
            aim=0.60,
            unit="%",
            bounded_by="activations, loss, optimizer, gathering and evaluation are no matrix products",
        ),
        Figure(
            key="others",
            told="every other workload / hand loop in 2 processes",
            must=0.95,
            aim=1.3,
            bounded_by=(
                "where matrix products are nearly all of an update both do the same work, and rows that "
                "leave the caches cost more than they save"
            ),
        ),
        Figure(
            key="trials-256",
            told="256 trials x 20 epochs cold start to published, Ray Tune (no pruning) / Ravine",
            must=8,
            aim=15,
            bounded_by="starting Ray, loading torch and measuring widths take seconds of a launch this short",
        ),
        Figure(
            key="trials-1024",
            told="the same with 1,024 trials",
            must=10,
            aim=20,
            bounded_by="proposing, storing and publishing trials takes a core from training",
        ),
        Figure(
            key="target",
            told="time to the target loss, Ray Tune + ASHA / Ravine + ASHA",
            must=8,
            aim=15,
            bounded_by=(
                "a good setting found early is trained to its end in seconds by either, and starting takes "
                "both seconds; Ravine's rounds propose many settings before they learn from any"
            ),
        ),
        Figure(
            key="decay-epochs",
            told="decay study (4 lr x 3 momenta x 12 decays forked at 80 %): epochs asked / trained",
            must=3.5,
            aim=BOUND,
            bounded_by=f"the study itself: {BOUND:.2f} where every branch is at 80 %",
        ),
        Figure(
            key="decay-wall",
            told="the same, wall time against no sharing",
            must=2.5,
            aim=3.3,
            bounded_by=(
                "starting and publishing take as long either way, and 12 trunks fill fewer rows than 144 "
                "trials: small updates cost nearly the same with fewer rows"
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured for a figure, or for one workload of it."""

    key: str  # of the figure
    part: str = ""  # a workload, or how it differs from what the figure says
    series: Series | None  # None where it could not be measured
    counts: bool = True  # False: not what the figure asks for, a quick look only
    detail: tuple[str, ...] = ()  # lines: what it is made of
    machine: Between | None = None
    problem: str | None = None

    def verdict(self) -> str:
        """Whether the median reaches the aim, the must, or neither."""
        if self.series is None:
            return "not measured"
        figure, got = FIGURES[self.key], self.series.median
        reached = "aim" if got >= figure.aim else "must" if got >= figure.must else "MISSED"
        if not self.counts:
            return f"quick: {reached}"
        return reached

    def got(self) -> str:
        """Median and range with the figure's unit, or why there is none."""
        if self.series is None:
            return self.problem or "not measured"
        figure, values = FIGURES[self.key], self.series.values
        median = figure.shown(self.series.median)
        if len(values) == 1:
            return f"{median} (one repeat)"
        return f"{median} ({figure.shown(min(values))} to {figure.shown(max(values))}, {len(values)} repeats)"

    def was_disturbed(self) -> bool:
        """Whether the machine had other things to do."""
        return self.machine is not None and self.machine.was_busy

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        figure, machine = FIGURES[self.key], self.machine
        return {
            "figure": self.key,
            "part": self.part,
            "must": figure.must,
            "aim": figure.aim,
            "values": None if self.series is None else list(self.series.values),
            "median": None if self.series is None else self.series.median,
            "verdict": self.verdict(),
            "counts": self.counts,
            "detail": list(self.detail),
            "problem": self.problem,
            "machine": None
            if machine is None
            else {name: getattr(machine, name) for name in type(machine).__slots__},
        }


def chosen(only: Sequence[str] | None) -> tuple[str, ...]:
    """The figures' keys asked for, in the table's order. Raises ValueError for a name that is none."""
    unknown = sorted(set(only or ()) - set(FIGURES))
    if unknown:
        raise ValueError(f"no figure is called {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return tuple(key for key in FIGURES if only is None or key in only)
