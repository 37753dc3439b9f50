"""A launch measures once, remembers it, and a resumed sweep keeps to what it began with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.files import Overrides
from sweeps import launching
from sweeps.launching import run_stored_sweep
from sweeps.records import SweepState
from sweeps.store import open_store
from sweeps.sweep_files import create_sweep, read_sweep_file, stored_space
from sweeps.watching import Snapshot
from tests.end_to_end.command_line import ravine, sweep_file
from workers import speed_benches
from workers.speed import SpeedQuestion, Speeds

CONVOLVING = """\
name: convolving
task: digits-cnn
task_args: {width: 2}
metric: {name: val_loss, goal: minimize}
epochs: 4
batch_size: 256
optimizer: {SGD: {lr: {log: [1e-3, 0.3]}, momentum: 0.9}}
trials: 6
concurrency: 4
sampler: random
"""
UNFOLDED = Speeds(
    stacked={4: 100.0},
    solo=10.0,
    convolutions="unfolded",
    compared={"grouped": 50.0, "unfolded": 100.0},
    stopped="slower",
    seconds=1.0,
)


class Quiet:
    """Counts rounds and keeps what is said."""

    def __init__(self) -> None:
        self.rounds = 0
        self.sentences: list[str] = []
        self.ends = 0

    def round_closed(self, snapshot: Snapshot) -> None:
        self.rounds += 1

    def sweep_ended(self) -> None:
        self.ends += 1

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


class Home:
    """One home, and the launches in it."""

    def __init__(self, folder: Path, sweep: Path) -> None:
        self.store = open_store(f"sqlite:///{folder / 'ravine.db'}", read_only=False)
        self.speeds = folder / "speeds"
        self.sweep = sweep

    def create(self) -> int:
        return create_sweep(self.store, read_sweep_file(self.sweep, Overrides()))

    def run(self, sweep_id: int, *, rounds: int = 10**6) -> tuple[SweepState, list[str]]:
        """Run a sweep until so many rounds are closed."""
        quiet, row = Quiet(), self.store.sweep(sweep_id)
        state = run_stored_sweep(
            self.store,
            row,
            stored_space(row),
            workers=1,
            ray="none",
            speeds=self.speeds,
            observer=quiet,
            interrupted=lambda: quiet.rounds >= rounds,
        )
        return state, quiet.sentences

    def curves(self, sweep_id: int) -> list[tuple[Any, ...]]:
        return [(m.number, m.epoch, m.train_loss, m.val_loss) for m in self.store.measurements(sweep_id)]


@pytest.fixture
def home(tmp_path: Path) -> Callable[[str], Home]:
    def make(name: str) -> Home:
        (tmp_path / name).mkdir()
        return Home(tmp_path / name, sweep_file(tmp_path, CONVOLVING))

    return make


def test_a_resumed_sweep_keeps_its_bits_whatever_is_measured_in_between(
    home: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SpeedQuestion] = []

    def measure(question: SpeedQuestion, *, ray: str) -> Speeds:
        assert ray == "none"
        asked.append(question)
        return UNFOLDED

    monkeypatch.setattr(launching, "_measure", measure)
    undisturbed, disturbed = home("undisturbed"), home("disturbed")
    undisturbed.create()
    assert undisturbed.run(1)[0] is SweepState.finished

    disturbed.create()
    assert disturbed.run(1, rounds=2)[0] is SweepState.waiting
    assert len(asked) == 2
    (kept,) = disturbed.speeds.iterdir()
    plain = json.loads(kept.read_text())
    grouped = replace(UNFOLDED, convolutions="grouped")

    def now_remembered(speeds: Speeds) -> None:
        kept.write_text(json.dumps({**plain, "speeds": speeds.to_json()}))

    now_remembered(replace(grouped, solo=10_000.0))
    state, said = disturbed.run(1)
    assert state is SweepState.finished
    assert not [sentence for sentence in said if "trial-steps" in sentence]
    plan = disturbed.store.sweep(1).plan
    assert plan is not None
    assert (plan["execution"], plan["convolutions"], plan["width"]) == ("stacked", "unfolded", 4)
    assert disturbed.curves(1) == undisturbed.curves(1)
    assert len(asked) == 2

    # New sweeps go by what is remembered now, and that does change bits.
    disturbed.create()
    assert disturbed.run(2)[1][0].startswith("solo (remembered: ")
    now_remembered(grouped)
    disturbed.create()
    assert disturbed.run(3)[1][0].startswith("width 4 (remembered: ")
    curves = [disturbed.curves(sweep_id) for sweep_id in (1, 2, 3)]
    assert curves[0] != curves[1] != curves[2] != curves[0]
    assert all([row[:2] for row in found] == [row[:2] for row in curves[0]] for found in curves)
    assert len(asked) == 2


def test_a_launch_measures_and_the_next_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_benches, "SECONDS_WORTH_MEASURING", 0.0)
    file = sweep_file(tmp_path, CONVOLVING)
    first = ravine("launch", file, "--ray", "none", "--epochs", 1, home=tmp_path / "home")
    assert first.code == 0, first.stderr
    assert "(measured: 4: " in first.stderr
    second = ravine("launch", file, "--ray", "none", "--epochs", 1, home=tmp_path / "home")
    assert "(remembered: 4: " in second.stderr
    database = sqlite3.connect(tmp_path / "home" / "ravine.db")
    plans = [json.loads(plan) for (plan,) in database.execute("SELECT plan FROM sweeps ORDER BY id")]
    assert plans[0] == plans[1]
    assert set(plans[0]["speeds"]) == {"4"}
    assert plans[0]["solo_speed"] > 0


def test_a_short_sweep_is_not_measured(tmp_path: Path) -> None:
    ran = ravine("launch", sweep_file(tmp_path, CONVOLVING), "--ray", "none", home=tmp_path / "home")
    assert ran.code == 0, ran.stderr
    assert "trial-steps/s" not in ran.stderr
    assert not (tmp_path / "home" / "speeds").exists()
