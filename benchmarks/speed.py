"""How fast Ravine is, beside what others reach on this machine: the table of docs/benchmarks.md.

First parity gates, without which no figure counts; then a calibration of the machine; then each figure,
systems in turns. All of it takes about 35 minutes on two quiet cores (the half of it Ray Tune's 1,024
trials, once), --quick about 6: one repeat, fewer trials, one study, no 1,024 trials. Run it alone on the
machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.figures import FIGURES, Found, chosen
from benchmarks.gates import GATES, run_gate
from benchmarks.machine import Moment, between, facts
from benchmarks.results_page import page_part, table, write
from benchmarks.workloads import MAIN, OTHERS

STUDIES, MOST_STUDIES = 3, 5
QUICK_LAUNCH_TRIALS = 64
DECAY_TASKS = (MAIN, "digits-cnn", "mlp-784")  # the first with all repeats, the others once


class Run:
    """One run of the benchmark: what was asked, and what has been found so far."""

    def __init__(self, wanted: argparse.Namespace) -> None:
        self.wanted = wanted
        self.keys = chosen(wanted.only)
        self.repeats = 1 if wanted.quick else wanted.repeats
        self.found: list[Found] = []
        self.gates: list[dict[str, Any]] = []
        self.calibration: list[str] = []
        self.limits: dict[str, float] = {}  # trial-steps a second by workload
        self.facts = facts()
        self._began = monotonic()

    def say(self, sentence: str) -> None:
        """Progress, for people."""
        print(f"[{monotonic() - self._began:6.0f} s] {sentence}", file=sys.stderr, flush=True)

    def all(self) -> bool:
        """Gates, calibration and figures; False where a gate does not hold."""
        if not self._pass_gates():
            return False
        self._calibrate()
        for measure in (self._workloads, self._launches, self._target, self._decay):
            measure()
        return True

    def result(self) -> dict[str, Any]:
        """Everything found, for a file."""
        return {
            "day": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": self.facts,
            "quick": self.wanted.quick,
            "gates": self.gates,
            "calibration": self.calibration,
            "limits": self.limits,
            "figures": [one.to_json() for one in self.found],
        }

    def _pass_gates(self) -> bool:
        for name in GATES:
            self.say(f"gate {name}")
            gate = run_gate(name)
            self.gates.append({"name": name, "passed": gate.passed, "said": gate.said})
            self.say(f"gate {name}: {'passed' if gate.passed else 'FAILED'}: {gate.said}")
        self._save()
        return all(gate["passed"] for gate in self.gates)

    def _calibrate(self) -> None:
        from benchmarks.calibration import calibrate, limit_of
        from benchmarks.pinned_pair import PinnedPair

        names = [MAIN] if self._wants("digits", "limit") else []
        names += OTHERS if self._wants("others") else ()
        with PinnedPair() as pair:
            self.say("calibrating")
            self.calibration = calibrate(pair).told()
            for name in names:
                limit = limit_of(pair, name, (8, 16, 32)) if self.wanted.quick else limit_of(pair, name)
                self.limits[name] = limit.trial_steps_per_second
                self.calibration.append(limit.told(name))
        for line in self.calibration:
            self.say(line)
        self._save()

    def _workloads(self) -> None:
        from benchmarks.measuring import measure_workload
        from benchmarks.series import Series

        for name in (MAIN, *OTHERS):
            own = ("digits", "limit") if name == MAIN else ("others",)
            if not self._wants(*own):
                continue

            def measure(name: str = name, own: Sequence[str] = own) -> list[Found]:
                timed = measure_workload(
                    name, self.repeats, quick=self.wanted.quick, say=lambda said: self.say(f"{name}: {said}")
                )
                shares = tuple(rate.by_wall / self.limits[name] for rate in timed.rates[timed.ours()])
                share = f"{100 * Series(shares).median:.0f} % of the arithmetic limit"
                part = "" if name == MAIN else name
                ratio = Found(key=own[0], part=part, series=timed.ratio(), detail=(*timed.detail(), share))
                if name != MAIN:
                    return [ratio]
                by_processor = [rate.by_processor / self.limits[name] for rate in timed.rates[timed.ours()]]
                detail = f"{timed.ours()}; by processor time {100 * median(by_processor):.0f} %"
                return [ratio, Found(key="limit", series=Series(shares), detail=(detail,))]

            self._measure(own, measure, part="" if name == MAIN else name)

    def _launches(self) -> None:
        from benchmarks.measuring import launches

        quick = self.wanted.quick
        for key, trials in (("trials-256", 256), ("trials-1024", 1024)):
            if not self._wants(key) or (quick and key == "trials-1024"):
                continue
            number = QUICK_LAUNCH_TRIALS if quick else trials

            def measure(key: str = key, number: int = number) -> list[Found]:
                optuna = key == "trials-256"
                return [
                    launches(number, self.repeats, key=key, counts=not quick, optuna=optuna, say=self.say)
                ]

            self._measure((key,), measure)

    def _target(self) -> None:
        from benchmarks.measuring import to_target

        studies = 1 if self.wanted.quick else min(self.wanted.studies, MOST_STUDIES)
        if self._wants("target"):
            self._measure(
                ("target",), lambda: [to_target(studies, counts=not self.wanted.quick, say=self.say)]
            )

    def _decay(self) -> None:
        from benchmarks.measuring import decay

        keys = [key for key in ("decay-epochs", "decay-wall") if self._wants(key)]
        for name in DECAY_TASKS if keys else ():
            if name != MAIN and (self.wanted.quick or "decay-wall" not in keys):
                continue

            def measure(name: str = name) -> Sequence[Found]:
                both = decay(name, self.repeats if name == MAIN else 1, say=self.say)
                return both if name == MAIN else both[1:]  # it is the same ratio of epochs

            self._measure(keys if name == MAIN else ["decay-wall"], measure, part=name)

    def _measure(self, keys: Sequence[str], measure: Callable[[], Sequence[Found]], part: str = "") -> None:
        """Measure, and go on where that fails: the figures are then said not to have been measured."""
        before = Moment.now()
        try:
            got = list(measure())
        except (RuntimeError, AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            said = " ".join(str(error).split())
            self.say(f"{', '.join(keys)}: not measured: {said}")
            problem = f"not measured: {type(error).__name__}: {said[:300]}"
            got = [Found(key=key, part=part, series=None, problem=problem) for key in keys]
        machine = between(before, Moment.now())
        for one in got:
            if one.key in self.keys:
                one = replace(one, machine=machine, counts=one.counts and not self.wanted.quick)
                self.found.append(one)
                self.say(f"{one.key} {one.part}: {one.got()} ({one.verdict()}); {machine.told()}")
        self._save()

    def _wants(self, *keys: str) -> bool:
        return any(key in self.keys for key in keys)

    def _save(self) -> None:
        """What there is so far, so that an interrupted run leaves it."""
        if self.wanted.json not in (None, "-"):
            Path(self.wanted.json).write_text(json.dumps(self.result(), indent=1), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    made.add_argument("--only", nargs="+", metavar="FIGURE", help=f"of {', '.join(FIGURES)}")
    made.add_argument("--repeats", type=int, default=3, help="of what is short; what is long is done once")
    made.add_argument("--studies", type=int, default=STUDIES, help=f"to the target, {MOST_STUDIES} at most")
    made.add_argument("--quick", action="store_true", help="a look in about 6 minutes; counts as no figure")
    made.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="results as JSON: stdout, or a file"
    )
    made.add_argument("--write", type=Path, metavar="PAGE", help="put the results into docs/benchmarks.md")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where a gate does not hold, 2 where what was asked for does not exist."""
    wanted = parser().parse_args(arguments)
    try:
        run = Run(wanted)
    except ValueError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    if not run.all():
        print("benchmarks.speed: a parity gate does not hold, so no figure counts", file=sys.stderr)
        return 1
    text = sys.stderr if wanted.json == "-" else sys.stdout
    for line in table(run.found):
        print(line, file=text)
    if wanted.json == "-":
        print(json.dumps(run.result()))
    if wanted.write is not None:
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        write(wanted.write, page_part(run.facts, run.found, run.calibration, day))
    return 0


if __name__ == "__main__":
    sys.exit(main())
