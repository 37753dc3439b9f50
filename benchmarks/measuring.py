"""How each figure is measured. Systems that are compared take turns: a slow spell meets all of them."""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import hand_loop, ravine_side
from benchmarks.decay_study import study
from benchmarks.figures import Found
from benchmarks.main_job import FILE
from benchmarks.pinned_pair import Done, PinnedPair, processor_seconds, wall_seconds
from benchmarks.series import Series, in_turns, number, ratios
from benchmarks.time_to_target import RivalFailed, run_rival, seconds_of_ravine, seconds_of_ray_tune, target
from benchmarks.whole_process import Ran
from benchmarks.workloads import MAIN

Say = Callable[[str], None]
ROWS = 32  # of each of the two processes: the whole frozen list is open at once
ROWS_OF_MAIN = (16, 32, 64)  # 64: each setting with two seeds
QUICK_TRIALS = 6  # of each process, for the hand loop


@dataclass(frozen=True, slots=True)
class Rate:
    """Trial-steps a second of two processes."""

    by_wall: float
    by_processor: float  # a core-second, times two: as it were if nobody else used the cores

    @staticmethod
    def of(done: Sequence[Done]) -> Rate:
        """Of what two processes have done at once."""
        steps = sum(one.result["trial_steps"] for one in done)
        return Rate(steps / wall_seconds(done), len(done) * steps / processor_seconds(done))


@dataclass(slots=True, kw_only=True)
class Workload:
    """A workload's rates by system: ``hand loop`` and ``Ravine, N rows``."""

    rates: dict[str, list[Rate]] = field(default_factory=dict)
    cold_seconds: float = 0.0  # of Ravine's first pass over the list, programs made meanwhile
    way: str = ""  # of the hand loop
    plan: dict[str, Any] = field(default_factory=dict)

    def ours(self) -> str:
        """The system of Ravine that is fastest in the median."""
        names = [name for name in self.rates if name != "hand loop"]
        return max(names, key=lambda name: median(rate.by_wall for rate in self.rates[name]))

    def ratio(self) -> Series:
        """Ravine to the hand loop, by the wall clock."""
        return ratios(
            [rate.by_wall for rate in self.rates[self.ours()]],
            [rate.by_wall for rate in self.rates["hand loop"]],
        )

    def detail(self) -> tuple[str, ...]:
        """Lines: every system's rate, by both clocks."""
        lines = [
            f"{name}: {Series(tuple(rate.by_wall for rate in rates)).told()} trial-steps/s; by processor "
            f"time {number(median(rate.by_processor for rate in rates))}"
            for name, rates in self.rates.items()
        ]
        hand = median(rate.by_processor for rate in self.rates["hand loop"])
        ours = median(rate.by_processor for rate in self.rates[self.ours()])
        plan = f"{self.plan['execution']}, width {self.plan['width']}, {self.plan['convolutions']}"
        return (
            *lines,
            f"ratio by processor time {number(ours / hand)}; hand loop {self.way}; Ravine {plan}; its "
            f"first pass, with making programs, took {self.cold_seconds:.1f} s",
        )


def measure_workload(name: str, repeats: int, *, quick: bool, say: Say) -> Workload:
    """The hand loop and Ravine's worker in turns, each in two pinned processes that stay."""
    from workers.process_environment import PROCESS_ENVIRONMENT

    found = Workload()
    count = QUICK_TRIALS if quick else None
    with PinnedPair() as hand, PinnedPair(PROCESS_ENVIRONMENT) as ours:
        found.way = hand.one(hand_loop.fastest_way, name).result
        plan = ours.one(ravine_side.plan_for, name, ROWS).result
        found.plan = plan
        systems: dict[str, Callable[[], Rate]] = {
            "hand loop": lambda: Rate.of(hand.both(hand_loop.train_half, name, found.way, count))
        }

        def system(rows: int) -> Callable[[], Rate]:
            own = {**plan, "width": rows} if name == MAIN else plan
            seeds = max(1, rows // ROWS)
            return lambda: Rate.of(ours.both(ravine_side.train_half, name, own, rows, seeds))

        for rows in ROWS_OF_MAIN if name == MAIN and not quick else (ROWS,):
            systems[f"Ravine, {rows} rows"] = system(rows)
        say("warming up")
        hand.both(hand_loop.train_half, name, found.way, 1)
        for rows in ROWS_OF_MAIN if name == MAIN and not quick else (ROWS,):
            own = {**plan, "width": rows} if name == MAIN else plan
            seeds = max(1, rows // ROWS)
            cold = wall_seconds(ours.both(ravine_side.train_half, name, own, rows, seeds))
            if rows == ROWS:
                found.cold_seconds = cold
        found.rates = in_turns(systems, repeats, say)
    return found


def launches(trials: int, repeats: int, *, key: str, counts: bool, optuna: bool, say: Say) -> Found:
    """Whole launches of the main job beside Ray Tune, once, and where asked Optuna, once."""
    ours: list[ravine_side.Launched] = []

    def launch() -> None:
        say(f"Ravine, {trials} trials, repeat {len(ours) + 1} of {repeats}")
        with tempfile.TemporaryDirectory(prefix="ravine-bench-") as folder:
            launched = ravine_side.launch(FILE, Path(folder) / "home", "--trials", str(trials))
        assert launched.result["trials"]["failed"] == 0, launched.result
        ours.append(launched)

    launch()
    say(f"Ray Tune, {trials} trials, once")
    rival = _rival("ray_tune_rival", trials)
    while len(ours) < repeats:
        launch()
    seconds = [launched.seconds for launched in ours]
    cores = [launched.core_seconds for launched in ours]
    detail = [
        f"Ravine {Series(tuple(seconds)).told()} s, of cores {Series(tuple(cores)).told()} s",
        f"Ray Tune {_rival_told(rival, seconds, cores)}",
    ]
    if optuna:
        say(f"Optuna, {trials} trials, once")
        try:
            other = _rival("optuna_rival", trials)
            detail.append(f"Optuna, SQLite, two processes {_rival_told(other, seconds, cores)}")
        except (RivalFailed, subprocess.TimeoutExpired) as error:
            detail.append(f"Optuna failed: {error}")
    part = "" if counts else f"{trials} trials"
    series = ratios([rival.seconds], seconds)
    return Found(key=key, part=part, series=series, counts=counts, detail=tuple(detail))


def _rival(module: str, trials: int) -> Ran:
    found, ran = run_rival(module, "--trials", str(trials))
    assert found["trials"] == trials, found
    return ran


def _rival_told(rival: Ran, seconds: Sequence[float], cores: Sequence[float]) -> str:
    """Of one run of a rival, and how it compares with Ravine's medians by both clocks."""
    by_wall, by_cores = rival.seconds / median(seconds), rival.core_seconds / median(cores)
    return (
        f"{rival.seconds:.1f} s, of cores {rival.core_seconds:.1f} s (one repeat): {number(by_wall)}x, "
        f"by core-seconds {number(by_cores)}x"
    )


def to_target(studies: int, *, counts: bool, say: Say) -> Found:
    """Each study once by each system, in turns."""
    say("finding the target")
    wanted = target()
    ours, theirs = [], []
    for seed in range(studies):
        say(f"study {seed + 1} of {studies}: Ravine to val_loss {wanted:.4f}")
        ours.append(seconds_of_ravine(wanted, seed))
        say(f"study {seed + 1} of {studies}: Ray Tune + ASHA to val_loss {wanted:.4f}")
        theirs.append(seconds_of_ray_tune(wanted, seed))
    return target_found(wanted, ours, theirs, counts=counts)


def target_found(wanted: float, ours: Sequence[float], theirs: Sequence[float], *, counts: bool) -> Found:
    """The ratio of the two medians over studies; a study that missed the target counts as infinite."""
    detail = (
        f"target val_loss {wanted:.4f}",
        f"Ravine {_studies_told(ours)}",
        f"Ray Tune + ASHA {_studies_told(theirs)}",
    )
    part = "" if counts else f"{len(ours)} studies"
    first, second = median(ours), median(theirs)
    problem = None
    if math.isinf(first):
        problem = "Ravine missed the target in half of the studies or more"
    elif math.isinf(second):
        problem = "Ray Tune missed the target in half of the studies or more: there is no finite ratio"
    series = None if problem is not None else Series((second / first,))
    return Found(key="target", part=part, series=series, counts=counts, detail=detail, problem=problem)


def _studies_told(seconds: Sequence[float]) -> str:
    listed = ", ".join("missed" if math.isinf(one) else f"{one:.1f}" for one in seconds)
    return f"{listed} s by study"


def decay(name: str, repeats: int, *, say: Say) -> tuple[Found, Found]:
    """Epochs asked over trained, and wall time without forks over with, on a workload."""
    found = in_turns(
        {
            "forked": lambda: study(name, forks=True),
            "unforked": lambda: study(name, forks=False),
        },
        repeats,
        lambda said: say(f"decay study on {name}, {said}"),
    )
    forked, unforked = found["forked"], found["unforked"]
    if any(one.values != forked[0].values for one in (*forked, *unforked)):
        raise RuntimeError("trials of the decay study have other values with forks than without")
    epochs = Series(tuple(one.epochs_asked / one.epochs_trained for one in forked[:1]))
    wall = ratios([one.seconds for one in unforked], [one.seconds for one in forked])
    training = ratios([one.training_seconds for one in unforked], [one.training_seconds for one in forked])
    cores = ratios([one.core_seconds for one in unforked], [one.core_seconds for one in forked])
    seconds = (
        f"with forks {Series(tuple(one.seconds for one in forked)).told()} s, without "
        f"{Series(tuple(one.seconds for one in unforked)).told()} s; training alone {training.told()}x; "
        f"by core-seconds of the launches {cores.told()}x"
    )
    asked = f"{forked[0].epochs_asked} epochs asked, {forked[0].epochs_trained} trained"
    return (
        Found(key="decay-epochs", part=name, series=epochs, detail=(asked,)),
        Found(key="decay-wall", part=name, series=wall, detail=(seconds,)),
    )
