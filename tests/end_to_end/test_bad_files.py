"""Every kind of bad sweep file: exit 2, a message that names the line, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.command_line import ravine, sweep_file

GOOD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 5
optimizer:
  SGD:
    lr: {log: [1e-3, 1.0]}
    momentum: 0.9
schedule:
  - StepLR: {step_size: {int: [1, 3]}, gamma: 0.5}
trials: 4
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


KINDS: dict[str, tuple[str, int | None, str]] = {
    "unknown key": (GOOD + "trails: 4\n", 11, "trials"),
    "duplicate key": (GOOD + "epochs: 6\n", 11, "epochs"),
    "duplicate key inside": (changed("    momentum: 0.9", "    lr: 0.1"), 7, "lr"),
    "unknown schedule": (changed("StepLR", "StepRL"), 9, "StepLR"),
    "unknown optimizer": (changed("SGD", "SDG"), 5, "SGD"),
    "unknown argument": (changed("momentum: 0.9", "momentun: 0.9"), 7, "momentum"),
    "wrong bounds": (changed("[1e-3, 1.0]", "[1.0, 1e-3]"), 6, "lr"),
    "log of zero": (changed("[1e-3, 1.0]", "[0.0, 1.0]"), 6, "lr"),
    "log1m up to one": (changed("momentum: 0.9", "momentum: {log1m: [0.0, 1.0]}"), 7, "momentum"),
    "three bounds": (changed("[1e-3, 1.0]", "[1e-3, 1.0, 2.0]"), 6, "lr"),
    "unknown range": (changed("log: [", "logg: ["), 6, "log"),
    "nesterov without momentum": (changed("momentum: 0.9", "nesterov: true"), 7, "nesterov"),
    "momentum for Adam": (changed("SGD", "Adam"), 7, "betas"),
    "empty choice": (changed("momentum: 0.9", "momentum: []"), 7, "momentum"),
    "empty schedule list": (
        changed("schedule:\n  - StepLR: {step_size: {int: [1, 3]}, gamma: 0.5}", "schedule: []"),
        8,
        "schedule",
    ),
    "missing task": (changed("task: digits-mlp\n", ""), None, "task"),
    "unknown task": (changed("digits-mlp", "digits-mpl"), 1, "digits-mlp"),
    "unknown metric": (changed("name: val_loss", "name: val_los"), 2, "val_loss"),
    "unknown goal": (changed("goal: minimize", "goal: minimise"), 2, "minimize"),
    "epochs 0": (changed("epochs: 5", "epochs: 0"), 3, "epochs"),
    "epochs a word": (changed("epochs: 5", "epochs: many"), 3, "epochs"),
    "trials 0": (changed("trials: 4", "trials: 0"), 10, "trials"),
    "NaN": (changed("momentum: 0.9", "momentum: .nan"), 7, "finite"),
    "infinite": (changed("momentum: 0.9", "momentum: 1e400"), 7, "finite"),
    "required argument missing": (changed("step_size: {int: [1, 3]}, ", ""), 9, "step_size"),
    "whole number wanted": (changed("{int: [1, 3]}", "2.5"), 9, "step_size"),
    "last_epoch": (changed("gamma: 0.5", "gamma: 0.5, last_epoch: 3"), 9, "last_epoch"),
    "watch on StepLR": (changed("gamma: 0.5", "gamma: 0.5, watch: val_loss"), 9, "watch"),
    "warm-up as long as training": (GOOD + "warmup: {epochs: 5}\n", 11, "warmup"),
    "unknown sampler": (GOOD + "sampler: tpee\n", 11, "tpe"),
    "unknown pruner": (GOOD + "pruner: ashaa\n", 11, "asha"),
    "pruner argument": (GOOD + "pruner: {asha: {reduction_factor: 1}}\n", 11, "reduction_factor"),
    "argument of our own pruner": (
        GOOD + "pruner: {decay_fair: {rungs: [3, 1]}}\n",
        11,
        "pruner.decay_fair.rungs: got [3, 1]; wants ascending epochs from 1 to",
    ),
    "a budget that admits no setting with its cooldowns": (
        GOOD + "pruner: {decay_fair: {cooldown_epochs: 1}}\nbudget: {epochs: 6}\n",
        12,
        "budget.epochs: got 6; wants at least the",
    ),
    "pruner argument that is looked at late": (
        GOOD + "pruner: {hyperband: {max_resource: 0}}\n",
        11,
        "hyperband",
    ),
    "grid without points": (GOOD + "sampler: grid\n", 6, "points"),
    "seeds doubled": (GOOD + "seeds: [1, 1]\n", 11, "seeds"),
    "tag": (GOOD + "name: !!python/object/apply:os.system [ls]\n", 11, "tag"),
    "PyTorch refuses a value": (changed("momentum: 0.9", "momentum: -0.5"), 7, "momentum"),
    "PyTorch refuses a pair": (
        changed(
            "StepLR: {step_size: {int: [1, 3]}, gamma: 0.5}", "OneCycleLR: {max_lr: 0.1, pct_start: 2.0}"
        ),
        9,
        "pct_start",
    ),
    "batch larger than the data": (GOOD + "batch_size: 5000\n", 11, "1437"),
    "stacked what trains solo": (
        changed("SGD:\n    lr: {log: [1e-3, 1.0]}\n    momentum: 0.9", "Rprop:\n    lr: 0.1")
        + "execution: stacked\n",
        10,
        "Rprop",
    ),
    "not YAML": ("task: [digits\nmetric: }\n", 2, ""),
    "a list": ("- task\n- metric\n", 1, ""),
    "empty": ("", None, ""),
    "two megabytes": ("# " + "x" * 2_000_000 + "\n" + GOOD, None, "1,048,576"),
    "billion laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + GOOD, None, ""),
    "deep nesting": (GOOD + "name: " + "[" * 500 + "]" * 500 + "\n", 11, ""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_changes_nothing(kind: str, tmp_path: Path) -> None:
    text, line, word = KINDS[kind]
    home = tmp_path / "home"
    ran = ravine("launch", sweep_file(tmp_path, text), home=home)
    assert ran.code == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert not home.exists()
    if line is not None:
        assert f"line {line}" in ran.stderr, ran.stderr
    assert word in ran.stderr, ran.stderr


def test_the_good_file_is_good(tmp_path: Path) -> None:
    assert ravine("check", sweep_file(tmp_path, GOOD)).code == 0


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = changed("epochs: 5", "epochs: 0").replace("trials: 4", "trials: x").replace("StepLR", "StepRL")
    ran = ravine("launch", sweep_file(tmp_path, text), home=tmp_path / "home")
    assert ran.code == 2
    for line in (3, 9, 10):
        assert f"line {line}" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--trials", "0"], "--trials"),
        (["--epochs", "-1"], "--epochs"),
        (["--seed", "-5"], "--seed"),
        (["--workers", "0"], "--workers"),
        (["--ray", "127.0.0.1:1"], "nothing answers"),
        (["--ray", "somewhere"], "address"),
        (["--database", "mysql://x/y"], "mysql"),
        (["--database", "sqlite:////dev/null/ravine.db"], "/dev/null"),
    ],
)
def test_bad_options_change_nothing(arguments: list[str], word: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ran = ravine("launch", sweep_file(tmp_path, GOOD), *arguments, home=home)
    assert ran.code == 2
    assert word in ran.stderr
    assert not home.exists()


@pytest.mark.parametrize("path", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read(path: str, tmp_path: Path) -> None:
    ran = ravine("launch", tmp_path / path, home=tmp_path / "home")
    assert ran.code == 2
    assert str(tmp_path) in ran.stderr.replace("\n", "")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "command", ["show", "trials", "curves", "best", "stop", "resume", "delete", "publish"]
)
def test_an_unknown_sweep(command: str, tmp_path: Path) -> None:
    ran = ravine(command, "nothing", home=tmp_path / "home")
    assert ran.code == 2
    assert "Traceback" not in ran.stderr
    assert "ravine" in ran.stderr
    assert not (tmp_path / "home").exists()


def test_names_are_never_read_as_markup(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, changed("epochs: 5", "epochs: 1") + 'name: "a[/b]c"\n')
    assert "a[/b]c" in ravine("check", file).stdout
    assert ravine("launch", file, "--ray", "none", home=tmp_path / "h?m%20e").code == 0
    assert "a[/b]c" in ravine("list", home=tmp_path / "h?m%20e").stdout
    assert {path.name for path in (tmp_path / "h?m%20e").iterdir()} >= {"ravine.db", "mlflow.db"}
    assert (tmp_path / "h?m%20e" / "mlflow.db").stat().st_size > 100_000


def test_large_seeds_are_seeds(tmp_path: Path) -> None:
    text = changed("epochs: 5", "epochs: 1") + "seeds: [1764000000000000000]\n"
    assert ravine("launch", sweep_file(tmp_path, text), "--ray", "none", home=tmp_path / "home").code == 0
