"""A launched sweep tests first, and a resumed one searches between the same rates without testing again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.files import Overrides
from sweeps import launching
from sweeps.launching import run_stored_sweep
from sweeps.records import SweepState
from sweeps.store import open_store
from sweeps.sweep_files import create_sweep, read_sweep_file, stored_space
from tests.end_to_end.test_measured_launch import Quiet
from workers.range_question import RangeQuestion

SWEEP = """\
name: surface
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 4
optimizer: {SGD: {lr: {log: [1e-4, 10.0]}, momentum: [0.0, 0.9]}}
range_test: {updates: 100}
trials: 12
concurrency: 4
sampler: ORDERED
order: ORDER
"""


class Launch:
    """A sweep in a home of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        (folder / "surface.yaml").write_text(text)
        self.folder = folder
        self.store = open_store(f"sqlite:///{folder / 'ravine.db'}", read_only=False)
        create_sweep(self.store, read_sweep_file(folder / "surface.yaml", Overrides()))
        self.sentences: list[str] = []

    def run(self, rounds: int = 10**6) -> SweepState:
        """Run it until so many rounds are closed, as many more as it has."""
        quiet, row = Quiet(), self.store.sweep(1)
        state = run_stored_sweep(
            self.store,
            row,
            stored_space(row),
            workers=1,
            ray="none",
            speeds=self.folder / "speeds",
            observer=quiet,
            interrupted=lambda: quiet.rounds >= rounds,
        )
        self.sentences = quiet.sentences
        return state

    def curves(self) -> list[tuple[Any, ...]]:
        return [(m.number, m.epoch, m.lr, m.train_loss, m.val_loss) for m in self.store.measurements(1)]


def told(launch: Launch) -> list[str]:
    """What was said of the test; whether widths were worth measuring hangs on the machine."""
    return [one for one in launch.sentences if one.startswith("range test") or " is searched from " in one]


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "order"), [("tpe", "rounds"), ("random", "arrival")])
def test_a_resumed_sweep_searches_between_the_same_rates_and_does_not_test_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, order: str
) -> None:
    text = SWEEP.replace("ORDERED", sampler).replace("ORDER", order)
    undisturbed = Launch(tmp_path / "undisturbed", text)
    assert undisturbed.run() is SweepState.finished
    disturbed = Launch(tmp_path / "disturbed", text)
    assert disturbed.run(rounds=2) is SweepState.waiting

    def never(question: RangeQuestion, **_: object) -> None:
        pytest.fail(f"tested again: {question}")

    monkeypatch.setattr(launching, "_test_range", never)
    for kept in (disturbed.folder / "speeds").iterdir():
        kept.unlink()
    assert disturbed.run(rounds=1) is SweepState.waiting
    assert disturbed.run() is SweepState.finished
    assert disturbed.curves() == undisturbed.curves()
    assert told(disturbed) == told(undisturbed)
    assert len(told(disturbed)) == 2
    plan = disturbed.store.sweep(1).plan
    assert plan is not None
    low, high = plan["range_test"]["searched"]["SGD.lr"]
    assert 1e-4 < low < 0.01
    assert 3.8 * 0.9 < high < 3.8 * 1.1  # of theory, for the larger momentum
    rates = [trial.lr for trial in disturbed.store.trials(1)]
    assert len(rates) == 12
    assert all(rate is not None and low <= rate <= high for rate in rates)


def test_a_sweep_that_is_interrupted_while_it_is_tested_has_nothing_stored(tmp_path: Path) -> None:
    launch = Launch(tmp_path / "home", SWEEP.replace("ORDERED", "tpe").replace("ORDER", "rounds"))
    assert launch.run(rounds=0) is SweepState.waiting
    row = launch.store.sweep(1)
    assert (row.plan, row.state, row.lease_epoch) == (None, SweepState.waiting, 0)
    assert launch.store.trials(1) == []
    assert told(launch) == []
    assert launch.run() is SweepState.finished
