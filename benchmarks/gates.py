"""Parity gates: what must hold before any figure of speed counts. They are the project's own tests.

- parity: rows against solo training, float64 over single steps and more (rtol 1e-9), float32 over 132
  updates (rtol 1e-4)
- bits: a row is the same in any slot, at any width, in any company
- divergence: a row that diverges is recorded, frees its slot and touches no other
- forks: each trial of a family is the trial trained alone
- resume: a sweep that was killed goes on as the undisturbed one
- baseline: the hand loop's losses are those of Ravine's solo training
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.whole_process import ROOT

GATES: Mapping[str, tuple[str, ...]] = {
    "parity": (
        "tests/unit/test_population_equals_solo.py::test_float64_one_step_and_more",
        "tests/unit/test_population_equals_solo.py::test_float32_hundred_steps",
    ),
    "bits": (
        "tests/unit/test_population_bits.py::test_a_row_is_bit_equal_in_any_company",
        "tests/unit/test_population_bits.py::test_a_lone_row_is_padded_and_still_bit_equal",
        "tests/unit/test_traced_updates.py",
    ),
    "divergence": (
        "tests/unit/test_population_bits.py::test_a_diverging_row_is_recorded_and_frees_its_slot",
        "tests/unit/test_forks.py::test_all_on_a_row_diverge_together_and_leave",
    ),
    "forks": (
        "tests/unit/test_forks.py::test_each_trial_of_a_family_is_the_trial_alone",
        "tests/unit/test_session_forks.py::test_forks_change_no_decision",
    ),
    "resume": (
        "tests/unit/test_session_forks.py::test_a_killed_sweep_with_forks_goes_on_as_the_undisturbed_one",
    ),
    "baseline": ("tests/unit/test_benchmarks.py::test_the_hand_loop_trains_what_solo_trains",),
}
PATIENCE_SECONDS = 900.0  # for one gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What became of one gate."""

    name: str
    passed: bool
    said: str  # the tests' last line, or their failures


def run_gate(name: str, tests: Sequence[str] | None = None) -> Gate:
    """Run a gate's tests, or those given, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    with tempfile.TemporaryDirectory(prefix="ravine-gates-") as folder:
        try:
            ended = subprocess.run(
                [*command, "--basetemp", folder, *(GATES[name] if tests is None else tests)],
                cwd=ROOT,
                env=dict(os.environ),
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Gate(name=name, passed=False, said=f"not done after {PATIENCE_SECONDS:.0f} s")
    lines = ended.stdout.strip().splitlines() or [ended.stderr.strip()[-500:]]
    passed = ended.returncode == 0  # no test at all is pytest's code 4 or 5
    return Gate(name=name, passed=passed, said=lines[-1] if passed else "\n".join(lines[-20:]))
