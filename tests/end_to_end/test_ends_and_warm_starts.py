"""Sweeps that end before their settings do, and sweeps that begin with what others found out, by commands."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.command_line import ravine

FILE = """\
name: bowl
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 4
optimizer: {SGD: {lr: {log: [1e-3, 1.0]}, momentum: {log1m: [0.0, 0.9]}}}
trials: 300
concurrency: 4
"""


def written(folder: Path, name: str, more: str = "", *, epochs: int = 4) -> Path:
    file = folder / f"{name}.yaml"
    text = FILE.replace("name: bowl", f"name: {name}").replace("epochs: 4", f"epochs: {epochs}")
    file.write_text(text + more)
    return file


def test_a_budget_ends_a_sweep_and_every_command_says_so(tmp_path: Path) -> None:
    file, home = written(tmp_path, "short", "budget: {epochs: 22}\n"), tmp_path / "home"
    checked = ravine("check", file)
    assert checked.code == 0
    assert "budget: 22 trained epochs; all settings would take 1,200 at most" in checked.stdout
    ran = ravine("launch", file, "--ray", "none", "--json", home=home)
    assert ran.code == 0
    assert (ran.result["state"], ran.result["trials"]["finished"]) == ("finished", 5)
    reason = "of the budget of 22 epochs the search trained 20; 2 are fewer than another setting may take"
    assert ran.result["ended_early"] == reason
    assert f"ended early: {reason}" in ran.stderr
    assert reason in ravine("show", "short", home=home).stdout
    assert "ended early by" in ravine("list", home=home).stdout
    assert ravine("resume", "short", home=home).code == 0


def test_a_sweep_without_a_budget_says_nothing_of_one(tmp_path: Path) -> None:
    file, home = written(tmp_path, "whole"), tmp_path / "home"
    ran = ravine("launch", file, "--trials", 3, "--ray", "none", "--json", home=home)
    assert ran.code == 0
    assert "ended_early" not in ran.result
    assert "ended early" not in ravine("list", home=home).stdout


def test_a_time_that_is_over_at_once_is_no_failure(tmp_path: Path) -> None:
    file, home = written(tmp_path, "late", "budget: {wall_seconds: 0.000001}\n"), tmp_path / "home"
    ran = ravine("launch", file, "--ray", "none", "--json", home=home)
    assert ran.code == 0
    assert (ran.result["state"], ran.result["best"]) == ("finished", None)
    assert ran.result["trials"]["finished"] == 0
    assert "is used up" in ran.result["ended_early"]


def test_a_warm_start_is_told_stored_and_refused_where_it_cannot_be(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert ravine("launch", written(tmp_path, "bowl"), "--trials", 12, "--ray", "none", home=home).code == 0
    narrow = written(tmp_path, "next", "warm_start: bowl\nseed: 1\n")
    narrow.write_text(narrow.read_text().replace("log: [1e-3, 1.0]", "log: [0.02, 1.0]"))
    told = ravine("check", narrow, home=home).stderr
    assert "note: warm start from sweep 1 (bowl): " in told
    assert " of 12 settings fit; " in told
    assert " outside lr" in told
    ran = ravine("launch", narrow, "--trials", 3, "--ray", "none", "--json", home=home)
    assert ran.code == 0
    assert "note: warm start from sweep 1 (bowl): " in ran.stderr
    assert "of 12 settings fit" in ravine("show", "next", home=home).stdout

    unknown = ravine("launch", written(tmp_path, "x", "warm_start: nobody\n"), "--ray", "none", home=home)
    assert (unknown.code, "No sweep 'nobody' is stored" in unknown.stderr) == (2, True)
    longer = written(tmp_path, "y", "warm_start: 1\n", epochs=5)
    refused = ravine("launch", longer, "--ray", "none", home=home)
    assert (refused.code, "4 epochs there, 5 epochs here" in refused.stderr) == (2, True)
    assert ravine("check", longer, home=home).code == 2
    assert len(ravine("list", home=home).stdout.splitlines()) == 3

    nowhere = tmp_path / "nowhere"
    assert ravine("launch", narrow, "--ray", "none", home=nowhere).code == 2
    assert not nowhere.exists()
