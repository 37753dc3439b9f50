"""Replaying a search on known curves: what is paid for is seen, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.search.__main__ import main
from benchmarks.search.baselines import (
    BASELINES,
    halved,
    halving_epochs,
    hyperband,
    median_stopping,
    one_epoch,
    random_search,
)
from benchmarks.search.curves import BadCurves, load
from benchmarks.search.replay import order_of, replay
from benchmarks.search.trainer import BudgetSpent, Trainer

EPOCHS = 75


def rising(settings: int = 100, epochs: int = EPOCHS) -> NDArray[np.float64]:
    """Curves that never cross: setting n is better than n - 1 at every epoch."""
    finals = np.linspace(0.1, 0.9, settings)
    return finals[:, None] * (1.0 - np.exp(-np.arange(1.0, epochs + 1.0) / 10))


def test_an_epoch_is_paid_for_once() -> None:
    trainer = Trainer(rising(3, 10), 12)
    assert len(trainer.train(1, 4)) == 4
    assert trainer.left_epochs == 8
    trainer.train(1, 3)
    trainer.train(1, 10)
    assert (trainer.left_epochs, trainer.finished) == (2, [1])
    assert not trainer.affords(0, 3)
    with pytest.raises(BudgetSpent, match="3 epochs of setting 0 with 2 left"):
        trainer.train(0, 3)
    assert (trainer.left_epochs, trainer.trained(0)) == (2, 0)


def test_regret_is_told_by_what_was_trained_to_the_end() -> None:
    curves = rising(5, 4)
    trainer = Trainer(curves, 100)
    finals = curves[:, -1]
    assert trainer.regret == finals[4] - finals[0]
    trainer.train(4, 3)
    assert trainer.regret == finals[4] - finals[0]
    trainer.train(2, 4)
    assert trainer.regret == finals[4] - finals[2]
    trainer.train(4, 4)
    assert trainer.regret == 0.0


@pytest.mark.parametrize(("cost", "tried", "kept"), [(2, 76, 1), (4, 78, 3), (8, 82, 7), (16, 90, 15)])
def test_one_epoch_spends_all_it_has(cost: int, tried: int, kept: int) -> None:
    trainer = Trainer(rising(), cost * EPOCHS)
    one_epoch(trainer, range(100))
    assert sum(trainer.trained(setting) > 0 for setting in range(100)) == tried
    assert trainer.finished == list(range(tried - kept, tried))
    assert trainer.left_epochs == 0


@pytest.mark.parametrize(
    ("count", "rungs", "trainings"),
    [(27, (1, 3, 9), 1.72), (27, (3, 9, 27), 3.16), (27, (9, 25), 7.16), (9, (), 9.0)],
)
def test_halving_costs_what_the_table_of_others_says(
    count: int, rungs: tuple[int, ...], trainings: float
) -> None:
    epochs = halving_epochs(count, rungs, EPOCHS)
    assert epochs / EPOCHS == pytest.approx(trainings, abs=0.005)
    trainer = Trainer(rising(), epochs)
    assert halved(trainer, range(100), rungs, epochs) == count
    assert trainer.left_epochs == 0
    assert max(trainer.finished) == count - 1


def test_curves_that_never_cross_are_no_trouble_for_anybody() -> None:
    """Each finds the best of those that it has tried."""
    for name, method in BASELINES.items():
        trainer = Trainer(rising(), 8 * EPOCHS)
        method(trainer, range(100))
        tried = [setting for setting in range(100) if trainer.trained(setting)]
        assert max(trainer.finished) == max(tried) if name != "hyperband" else trainer.finished, name


def test_others_stay_within_the_budget() -> None:
    for cost in (1, 2, 3, 5, 16, 60):
        for method in (random_search, hyperband, median_stopping):
            trainer = Trainer(rising(), cost * EPOCHS)
            method(trainer, order_of(0, "task", 0, 100))
            assert trainer.left_epochs >= 0
            assert trainer.finished


def test_the_median_rule_stops_who_is_below() -> None:
    curves = rising(10, 20)
    trainer = Trainer(curves, 200)
    median_stopping(trainer, [9, 8, 7, 0, 1, 2])
    assert trainer.finished == [7, 8, 9]
    assert {trainer.trained(setting) for setting in (0, 1, 2)} == {5}


def test_orders_are_the_same_for_every_method_and_differ_by_draw() -> None:
    assert order_of(0, "a", 3, 50) == order_of(0, "a", 3, 50)
    assert sorted(order_of(0, "a", 3, 50)) == list(range(50))
    assert (
        len({tuple(order_of(seed, task, draw, 50)) for seed in (0, 1) for task in "ab" for draw in (0, 1)})
        == 8
    )


def write(folder: Path, changes: Mapping[str, Any] | None = None, settings: int = 12) -> list[str]:
    """Files of two tasks and two repeats, and how they are named on the command line."""
    curves = np.stack([rising(12, 6), rising(12, 6)[::-1]])
    arrays: dict[str, Any] = {
        "acc": np.stack([curves, curves]).astype(np.float32),
        "tasks": np.array(["up", "down"]),
        **(changes or {}),
    }
    np.savez(folder / "curves.npz", **arrays)
    (folder / "configs.json").write_text(json.dumps({str(n): {"optimizer": "SGD"} for n in range(settings)}))
    return ["--data", str(folder / "curves.npz"), "--configs", str(folder / "configs.json")]


def test_a_pool_is_read_and_replayed(tmp_path: Path) -> None:
    write(tmp_path)
    pool = load(tmp_path / "curves.npz", tmp_path / "configs.json")
    assert (pool.tasks, pool.epochs, len(pool.settings)) == (("up", "down"), 6, 12)
    (found,) = replay(pool, {"random": random_search}, [12.0], draws=3, repeat=1, seed=0)
    assert (found.spent, found.regret.shape) == (12.0, (2, 3))
    assert not found.regret.any()


def test_the_command_line_prints_regrets_by_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write(tmp_path)
    assert main([*options, "--costs", "2,4", "--draws", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(one["method"], one["cost"]) for one in told["results"]} == {
        (name, cost) for name in (*BASELINES, "decay_fair") for cost in (2.0, 4.0)
    }
    assert told["counts"] is False
    assert all(set(one["by_task"]) == {"up", "down"} for one in told["results"])
    for one in told["results"]:
        assert one["regret"] == pytest.approx(sum(one["by_task"].values()) / 2)
        assert one["spent"] <= one["cost"]
    assert main([*options, "--draws", "3"]) == 0
    assert "one epoch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({"acc": np.zeros((2, 2, 12))}, 12, "wants .repeats, 2 tasks, 12 settings, epochs"),
        ({"acc": np.full((1, 2, 12, 6), np.nan)}, 12, "gaps or infinite"),
        ({}, 11, "wants .repeats, 2 tasks, 11 settings"),
        ({"tasks": np.array([{"a": 1}], dtype=object)}, 12, "no curves and their settings"),
    ],
)
def test_other_files_are_refused(
    changes: Mapping[str, Any],
    settings: int,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = write(tmp_path, changes, settings)
    with pytest.raises(BadCurves, match=sentence):
        load(tmp_path / "curves.npz", tmp_path / "configs.json")
    assert main(options) == 2
    assert capsys.readouterr().err.startswith("search: ")
