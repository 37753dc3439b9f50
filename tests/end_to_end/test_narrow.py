"""`ravine narrow`: from a stored sweep to a file that can be launched, and what it says where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.next_file import NextFile, next_file, next_name
from dashboards.next_sweep import NextSweep, next_sweep
from search_spaces.ranges import Fixed
from sweeps.records import SweepState
from sweeps.store import open_store
from tests.end_to_end.command_line import ravine

FIRST = """\
# How much momentum does a ravine want?
task: quadratic
name: ravine
task_args: {condition: 100}
metric: {name: val_loss, goal: minimize}
epochs: 4
optimizer:
  SGD:
    lr: {log: [1e-3, 0.1]}          # surely too low
    momentum: {uniform: [0.0, 0.5]}
    nesterov: [false, true]
schedule:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: {int: [1, 3]}, gamma: {uniform: [0.5, 0.9]}}
trials: 60
sampler: random
"""


SCHEDULES = FIRST[FIRST.index("schedule:") : FIRST.index("sampler:")]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one finished sweep."""
    home = tmp_path_factory.mktemp("home")
    file = home / "first.yaml"
    file.write_text(FIRST)
    assert ravine("launch", file, "--ray", "none", home=home).code == 0
    return home


def test_the_next_file_passes_check_and_its_sweep_is_better(swept: Path) -> None:
    ran = ravine("narrow", "ravine", home=swept)
    assert ran.code == 0, ran.stderr
    file = yaml.safe_load(ran.stdout)
    assert (file["name"], file["trials"], file["seed"], file["sampler"]) == ("ravine-2", 60, 1, "random")
    low, high = file["optimizer"]["SGD"]["lr"]["log"]
    assert low > 1e-3
    assert high > 0.1
    assert "widened to see what is" in ran.stdout
    assert "SGD.lr" in ran.stderr
    assert "{log: [0.001, 0.1]}" in ran.stderr
    assert ran.stdout.startswith(
        "# How much momentum does a ravine want?\n# narrow: `ravine narrow 1` wrote this"
    )
    assert "# surely too low\n" in ran.stdout

    second = swept / "second.yaml"
    second.write_text(ran.stdout)
    assert ravine("check", second).code == 0
    launched = ravine("launch", second, "--ray", "none", "--json", home=swept)
    assert launched.code == 0, launched.stderr
    first = yaml.safe_load(ravine("best", 1, "--json", "--count", 1, home=swept).stdout)[0]["value"]
    assert launched.result["best"]["value"] < first

    again = ravine("narrow", "ravine-2", home=swept)
    assert again.code == 0
    assert yaml.safe_load(again.stdout)["name"] == "ravine-3"
    assert "ravine narrow 1" not in again.stdout  # our comments are replaced
    assert "# surely too low\n" in again.stdout  # and everybody else's stay


def test_the_same_is_said_twice_and_nothing_is_written(swept: Path) -> None:
    before = (swept / "ravine.db").read_bytes()
    one, other = ravine("narrow", 1, home=swept), ravine("narrow", 1, home=swept)
    assert one == other
    assert (swept / "ravine.db").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("trials: 60", "trials: 6"), "has 6 finished settings; at least 10 are wanted"),
        (
            (SCHEDULES, "branches: [constant, StepLR: {step_size: 2}]\ntrials: 6\n"),
            "has 3 finished proposals;",
        ),
        (("[1e-3, 0.1]", "[1e3, 1e5]"), "settings of sweep 1 that ended diverged"),
    ],
)
def test_too_little_to_go_by(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    file = tmp_path / "few.yaml"
    file.write_text(FIRST.replace(*change))
    ravine("launch", file, "--ray", "none", home=tmp_path)
    ran = ravine("narrow", 1, home=tmp_path)
    assert (ran.code, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_an_unknown_sweep(swept: Path) -> None:
    ran = ravine("narrow", "ravin", home=swept)
    assert ran.code == 2
    assert "ravine" in ran.stderr


def found_by(home: Path, **changes: Any) -> NextFile:
    """What is said of the sweep, some facts of its row changed."""
    store = open_store(f"sqlite:///{home / 'ravine.db'}", read_only=True)
    try:
        return next_file(store, replace(store.find_sweep("1"), **changes))
    finally:
        store.close()


def test_a_sweep_that_still_runs_may_be_narrowed(swept: Path) -> None:
    found = found_by(swept, state=SweepState.running)
    assert found.text == found_by(swept).text
    assert "sweep 1 is running and 0 settings are still open: so far it says this" in found.notes


def test_what_cannot_be_trained_stays_as_it_was(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum 0 beside nesterov is an error of a sweep file, whatever the trials say."""
    asked = []

    def without_momentum(*given: Any, keep: frozenset[str]) -> NextSweep:
        asked.append(keep)
        found = next_sweep(*given, keep=keep)
        if "SGD.momentum" in keep:
            return found
        (sgd,) = found.space.optimizers
        sgd = replace(
            sgd, arguments={**sgd.arguments, "momentum": Fixed(value=0.0), "nesterov": Fixed(value=True)}
        )
        changes = tuple(
            replace(one, after="0.0") if one.name == "SGD.momentum" else one for one in found.changes
        )
        return replace(found, space=replace(found.space, optimizers=(sgd,)), changes=changes)

    monkeypatch.setattr("dashboards.next_file.next_sweep", without_momentum)
    found = found_by(swept)
    assert asked[0] == frozenset()
    assert "SGD.momentum" in asked[-1]
    assert any(note.startswith("SGD.momentum stays: ") for note in found.notes)
    assert yaml.safe_load(found.text)["optimizer"]["SGD"]["momentum"] == {"uniform": [0.0, 0.5]}
    assert "narrow: SGD.momentum stays:" in found.text


def test_pruned_settings_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "pruned.yaml"
    file.write_text(FIRST + "pruner: {asha: {min_resource: 1, reduction_factor: 2}}\n")
    assert ravine("launch", file, "--ray", "none", home=tmp_path).code == 0
    ran = ravine("narrow", 1, home=tmp_path)
    assert ran.code == 0, ran.stderr
    assert "pruned settings are left out" in ran.stderr
    assert "pruned (left out)" in ran.stdout


def test_a_sampler_that_learns_is_told_of_the_sweep(tmp_path: Path) -> None:
    file, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    file.write_text(FIRST.replace("sampler: random", "sampler: tpe").replace("trials: 60", "trials: 24"))
    assert ravine("launch", file, "--ray", "none", home=tmp_path).code == 0
    ran = ravine("narrow", 1, home=tmp_path)
    assert ran.code == 0, ran.stderr
    second.write_text(ran.stdout)
    assert 'warm_start: "1"\n' in ran.stdout
    assert "settings fit" in ravine("check", second, home=tmp_path).stderr
    launched = ravine("launch", second, "--ray", "none", "--json", home=tmp_path)
    assert (launched.code, launched.result["trials"]["finished"]) == (0, 24)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("digits", "digits-2"), ("digits-2", "digits-3"), ("a-9", "a-10"), ("step-every-30", "step-every-31")],
)
def test_the_next_name(name: str, wanted: str) -> None:
    assert next_name(name) == wanted
    assert len(next_name("x" * 100)) == 100
