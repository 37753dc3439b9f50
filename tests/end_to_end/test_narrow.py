"""`ravine narrow`: from a stored sweep to a file that can be launched, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
