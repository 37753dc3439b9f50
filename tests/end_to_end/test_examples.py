"""The examples as they stand there: launched, pruned, in this process and on Ray; what a loop is in a sweep."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sqlite3
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from search_spaces.settings import Setting
from tests.end_to_end.command_line import Ran, ravine, sweep_file
from workers.loop_setting import LoopSetting

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"plain_torch": "torch", "lightning_digits": "pytorch_lightning"}
COLUMNS = ["number", "epoch", "step", "lr", "momentum", "train_loss", "val_loss", "val_accuracy"]

LOOP = '''\
"""A loop that leaves traces beside its file."""
import os
import random
import signal
from pathlib import Path

HERE = Path(__file__).parent


class Traces:
    """A number that falls."""

    def train(self, setting, seed, resume):
        assert resume is None
        loss = 1 / setting["lr"]
        try:
            for epoch in range(setting.epochs):
                loss *= 0.5 + 0.1 * random.random()
                marker = HERE / "interrupt"
                if epoch == 1 and marker.exists():
                    marker.unlink()
                    os.kill(os.getpid(), signal.SIGINT)
                print("an epoch of", setting["lr"])
                yield {"train_loss": loss, "val_loss": loss, "score": -loss, "epochs left": setting.epochs - epoch}
        finally:
            with (HERE / "closed").open("a") as file:
                print(setting["lr"], file=file)
'''
SWEEP = """\
task: own.py:Traces
metric: {name: score, goal: maximize}
epochs: 4
optimizer:
  SGD: {lr: {log: [0.01, 0.3]}}
trials: 12
concurrency: 4
sampler: random
pruner: {asha: {min_resource: 1, reduction_factor: 2}}
"""


def example(name: str) -> ModuleType:
    """The example's module, apart from the one that sweeps run."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def launched(name: str, home: Path, *more: object) -> Ran:
    pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed: examples/{name}.py needs it")
    ran = ravine("launch", EXAMPLES / f"{name}.yaml", "--json", *more, home=home)
    assert ran.code == 0, ran.stderr
    return ran


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_trains_at_once(name: str, tmp_path: Path) -> None:
    ran = launched(name, tmp_path, "--trials", 4, "--epochs", 2, "--ray", "none")
    assert sum(ran.result["trials"].values()) == 4
    assert ran.result["trials"]["finished"] >= 1
    assert ran.result["trials"]["finished"] + ran.result["trials"]["pruned"] == 4
    curves = ravine("curves", 1, home=tmp_path).stdout
    assert curves.splitlines()[0].split(",") == COLUMNS
    by_trial: dict[str, list[dict[str, str]]] = {}
    for row in rows(curves):
        by_trial.setdefault(row["number"], []).append(row)
    trials = {
        row["number"]: row for row in rows(ravine("trials", 1, "--format", "csv", home=tmp_path).stdout)
    }
    assert set(trials) == set(by_trial) == {"0", "1", "2", "3"}
    settings = dict(
        sqlite3.connect(tmp_path / "ravine.db").execute("SELECT number, setting FROM trials").fetchall()
    )
    for number, curve in by_trial.items():
        setting = json.loads(settings[int(number)])
        updates = 1437 // setting["batch_size"]
        assert [int(row["step"]) for row in curve] == [updates * int(row["epoch"]) for row in curve]
        assert [int(row["epoch"]) for row in curve] == list(range(1, int(trials[number]["epochs_done"]) + 1))
        assert trials[number]["final_lr"] == curve[-1]["lr"]
        if setting["schedule"] == "constant":
            assert {row["lr"] for row in curve} == {repr(setting["lr"])}
        assert all(0 < float(row["train_loss"]) < 3 for row in curve)
        assert all(0 <= float(row["val_accuracy"]) <= 1 for row in curve)
    plan = json.loads(
        sqlite3.connect(tmp_path / "ravine.db").execute("SELECT plan FROM sweeps").fetchone()[0]
    )
    assert plan["execution"] == "loop"


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("name", NEEDS)
def test_an_example_has_the_same_curves_on_ray(name: str, tmp_path: Path, ray_runtime: None) -> None:
    for home, where in (("here", ("--ray", "none")), ("ray", ("--workers", 2))):
        launched(name, tmp_path / home, "--trials", 4, "--epochs", 2, *where)
    here, ray = (ravine("curves", 1, home=tmp_path / home).stdout for home in ("here", "ray"))
    assert here == ray
    assert len(here.splitlines()) > 5


def test_lightning_fitted_epoch_by_epoch_equals_one_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    lightning = pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not installed")
    module: Any = example("lightning_digits")
    loaders = module.loaders

    def in_order(batch_size: int) -> Any:
        batches, unseen = loaders(batch_size)
        return torch.utils.data.DataLoader(batches.dataset, batch_size, drop_last=True), unseen

    monkeypatch.setattr(module, "loaders", in_order)
    setting = Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, batch_size=128)
    torch.manual_seed(0)
    *_, stepwise = module.Digits().train(LoopSetting(setting, seed=0, epochs=3), 0, None)
    torch.manual_seed(0)
    net = module.Net(64)
    net.optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", num_sanity_val_steps=0, **quiet)
    trainer.fit(net, *in_order(128))
    assert {name: float(value) for name, value in stepwise.items()} == {
        name: float(trainer.callback_metrics[name]) for name in stepwise
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "own.py").write_text(LOOP)
    return tmp_path / "sweeps"


def test_every_loop_of_a_pruned_sweep_is_closed_once_and_stdout_carries_data(
    folder: Path, tmp_path: Path
) -> None:
    ran = ravine("launch", sweep_file(folder, SWEEP), "--ray", "none", "--json", home=tmp_path / "home")
    assert ran.code == 0, ran.stderr
    assert ran.result["trials"]["pruned"] >= 3
    assert ran.result["trials"]["finished"] >= 1
    assert len(ran.stdout.splitlines()) == 1
    assert "an epoch of" in ran.stderr
    trials = rows(ravine("trials", 1, "--format", "csv", home=tmp_path / "home").stdout)
    assert Counter((folder / "closed").read_text().split()) == Counter(trial["lr"] for trial in trials)
    curves = rows(ravine("curves", 1, home=tmp_path / "home").stdout)
    assert list(curves[0])[:9] == [*COLUMNS[:7], "score", "epochs left"]
    assert len(curves) == sum(int(trial["epochs_done"]) for trial in trials)
    assert all(row["score"] == f"-{row['val_loss']}" and row["step"] == row["epoch"] for row in curves)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_loops_on_ray_are_closed_too(folder: Path, tmp_path: Path, ray_runtime: None) -> None:
    home = tmp_path / "home"
    assert ravine("launch", sweep_file(folder, SWEEP), "--workers", 2, home=home).code == 0
    assert len((folder / "closed").read_text().split()) == 12


def test_an_interrupted_sweep_of_loops_closes_them_and_resumes_to_the_undisturbed_one(
    folder: Path, tmp_path: Path
) -> None:
    file = sweep_file(folder, SWEEP)
    assert ravine("launch", file, "--ray", "none", home=tmp_path / "undisturbed").code == 0
    (folder / "closed").unlink()
    (folder / "interrupt").touch()
    home = tmp_path / "home"
    assert ravine("launch", file, "--ray", "none", home=home).code == 3
    assert not (folder / "interrupt").exists()
    started = len(rows(ravine("trials", 1, "--format", "csv", home=home).stdout))
    assert 4 <= len((folder / "closed").read_text().split()) <= started
    ran = ravine("resume", 1, "--ray", "none", home=home)
    assert ran.code == 0, ran.stderr
    assert "trained again, gives other numbers" not in ran.stderr
    curves = [ravine("curves", 1, home=tmp_path / name).stdout for name in ("undisturbed", "home")]
    assert curves[0] == curves[1]


def test_a_loop_that_does_not_repeat_itself_is_resumed_and_said_once(folder: Path, tmp_path: Path) -> None:
    (folder / "own.py").write_text(LOOP.replace("random.random()", "random.SystemRandom().random()"))
    home = tmp_path / "home"
    (folder / "interrupt").touch()
    file = sweep_file(folder, SWEEP.replace("pruner:", "#"))
    assert ravine("launch", file, "--ray", "none", home=home).code == 3
    before = rows(ravine("curves", 1, home=home).stdout)
    assert before
    ran = ravine("resume", 1, "--ray", "none", "--json", home=home)
    assert ran.code == 0, ran.stderr
    assert ran.result["trials"]["finished"] == 12
    assert (
        ran.stderr.count("trained again, gives other numbers in epoch 1: its training loop does not repeat")
        == 1
    )
    after = rows(ravine("curves", 1, home=home).stdout)
    assert [row for row in after if row in before] == before
    assert len(after) == 48


WRONG = {
    "stacked": (
        LOOP,
        SWEEP + "execution: stacked\n",
        "execution: stacked is refused: the task brings its own training",
    ),
    "bf16": (
        LOOP,
        SWEEP + "precision: bf16\n",
        "line 10: precision: bf16 is refused: the task brings its own training",
    ),
    "a column for a metric": (
        LOOP,
        SWEEP.replace("name: score", "name: lr"),
        "line 2: metric.name: lr is refused: it is a column of the curves",
    ),
    "a metric that it does not declare": (
        LOOP.replace("    def train", "    metrics = ('score', 'epochs left')\n\n    def train"),
        SWEEP.replace("name: score", "name: scor"),
        "line 2: metric.name: got 'scor'; wants one of train_loss, val_loss, score, epochs left; did you mean 'score'?",
    ),
    "a watch without its mode": (
        LOOP,
        SWEEP + "schedule: {ReduceLROnPlateau: {watch: score}}\n",
        "line 10: schedule.ReduceLROnPlateau.mode: missing; wants min or max beside watch",
    ),
    "no yield": (LOOP.replace("yield {", "return {"), SWEEP, "train() of Traces in {file} has no yield"),
    "a missing argument": (
        LOOP.replace(", resume)", ")"),
        SWEEP,
        "cannot be called with setting, seed and resume",
    ),
    "a constructor that refuses": (
        LOOP.replace(
            "    def train", "    def __init__(self):\n        raise ValueError('never')\n\n    def train"
        ),
        SWEEP,
        "is refused: never",
    ),
    "what pytorch refuses": (
        LOOP,
        SWEEP.replace("SGD: {", "Adagrad: {") + "schedule: {OneCycleLR: {max_lr: 0.1}}\n",
        "optimizer must support momentum",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_bad_loop_changes_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    text, sweep, words = WRONG[kind]
    (folder / "own.py").write_text(text)
    home = tmp_path / "home"
    ran = ravine("launch", sweep_file(folder, sweep), "--ray", "none", home=home)
    assert ran.code == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert not home.exists()
    assert words.format(file=folder / "own.py") in ran.stderr, ran.stderr
    assert not (folder / "closed").exists()


def test_check_does_not_train_a_loop(folder: Path) -> None:
    text = SWEEP + "schedule: [{StepLR: {step_size: 2}}, {OneCycleLR: {max_lr: 0.1, pct_start: 0.5}}]\n"
    ran = ravine("check", sweep_file(folder, text), "--epochs", 2)
    assert ran.code == 0, ran.stderr
    assert "cost without pruning: 24 epochs of the task's own training loop" in ran.stdout
    assert "OneCycleLR" in ran.stdout
    assert not (folder / "closed").exists()
    assert "an epoch of" not in ran.stderr


def test_a_loop_that_yields_the_wrong_thing_ends_its_sweep(folder: Path, tmp_path: Path) -> None:
    (folder / "own.py").write_text(LOOP.replace('"val_loss"', '"loss"'))
    ran = ravine("launch", sweep_file(folder, SWEEP), "--ray", "none", "--json", home=tmp_path / "home")
    assert ran.code == 4
    assert ran.result["trials"]["failed"] >= 4
    assert "trials failed the same way: TaskRefused: line " in ran.stderr
    assert (
        "train() yielded no 'val_loss', only train_loss, loss, score, epochs left; wants 'val_loss'"
        in ran.stderr
    )
    cause = (
        sqlite3.connect(tmp_path / "home" / "ravine.db")
        .execute("SELECT DISTINCT cause FROM trials")
        .fetchall()
    )
    assert ("user_error",) in cause
