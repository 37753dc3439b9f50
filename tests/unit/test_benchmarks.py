"""The benchmarks of speed: that all systems train the same trials, and that what they do is counted right."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import main_job, speed
from benchmarks.decay_study import BOUND, sweep_file
from benchmarks.frozen_trials import COUNT, digest, frozen_trials, half
from benchmarks.hand_loop import FUSED, WAYS, PlainTrial, load, train_half
from benchmarks.pinned_pair import JobFailed, PinnedPair
from benchmarks.products import Product, operations_of, products_of
from benchmarks.ravine_side import train_half as train_rows
from benchmarks.time_to_target import RandomParameters
from benchmarks.whole_process import run
from benchmarks.workloads import MAIN, WORKLOADS
from search_spaces.files import load_space
from search_spaces.settings import Schedule, Setting
from sweeps.sweep_files import checked_space
from tests.unit.catalogue_for_tests import CATALOGUE
from workers.messages import Admission, Measured
from workers.recipe import Recipe
from workers.solo import SoloTrial


def test_the_list_is_frozen() -> None:
    assert digest() == "a84f1f2e0828936f625b307d6451e03148b6ce9bcac111ac3337552bcc6187ba"


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_has_the_list_at_its_own_length(name: str) -> None:
    workload = WORKLOADS[name]
    trials = frozen_trials(workload)
    assert len({trial.seed for trial in trials}) == len(trials) == COUNT
    assert {trial.setting.batch_size for trial in trials} == {workload.batch_size}
    main = frozen_trials(WORKLOADS[MAIN])
    assert [trial.setting.arguments for trial in trials] == [trial.setting.arguments for trial in main]
    for trial in trials:
        lengths = [trial.setting.schedule.arguments.get(name) for name in ("T_max", "total_iters")]
        assert {length for length in lengths if length is not None} <= {workload.epochs}


def test_two_processes_share_it_evenly_and_more_seeds_are_other_trials() -> None:
    trials = frozen_trials(WORKLOADS[MAIN], seeds=2)
    assert trials[COUNT].setting == trials[0].setting
    assert trials[COUNT].seed != trials[0].seed
    parts = [half(trials, part) for part in (0, 1)]
    assert [len(part) for part in parts] == [COUNT, COUNT]
    assert sorted(trial.seed for part in parts for trial in part) == list(range(2 * COUNT))
    assert [trial.number for trial in parts[1]] == list(range(COUNT))


@pytest.mark.parametrize(
    ("task", "schedule"),
    [
        ("digits-mlp", Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.3})),
        ("digits-mlp", Schedule(name="WSD", arguments={"decay_start": 1, "decay_length": 2})),
        ("digits-mlp", Schedule(name="ReduceLROnPlateau", arguments={"factor": 0.1, "patience": 0})),
        ("digits-mlp", Schedule(name="OneCycleLR", arguments={"max_lr": 0.05}, every="step")),
        ("digits-cnn", Schedule(name="MultiStepLR", arguments={"milestones": (1, 2), "gamma": 0.5})),
        ("mlp-784", Schedule(name="CosineAnnealingLR", arguments={"T_max": 2})),
    ],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_the_hand_loop_trains_what_solo_trains(task: str, schedule: Schedule) -> None:
    """In float32, over epochs in which rounding has not grown yet; in all of its ways."""
    workload = WORKLOADS[task]
    learning = {} if schedule.name == "OneCycleLR" else {"lr": 0.02, "momentum": 0.8}
    setting = Setting(
        optimizer="SGD",
        arguments={**learning, "weight_decay": 1e-3},
        schedule=schedule,
        batch_size=workload.batch_size,
        task_arguments=workload.task_arguments,
    )
    made, data = load(workload)
    epochs = 2 if task == "mlp-784" else 3
    recipe = Recipe(task=made, data=data, epochs=epochs, metric="val_loss")
    reference = SoloTrial(recipe, Admission(number=0, seed=5, setting=setting))
    trials = [PlainTrial(made, data, setting, seed=5, epochs=epochs, way=way) for way in WAYS.values()]
    for _ in range(epochs):
        expected = reference.advance()
        assert isinstance(expected, Measured)
        for trial in trials:
            found = trial.train_epoch()
            assert found["train_loss"] == pytest.approx(expected.train_loss, rel=1e-4)
            assert found["val_loss"] == pytest.approx(expected.metrics["val_loss"], rel=1e-4)
            assert found["val_accuracy"] == pytest.approx(expected.metrics["val_accuracy"], abs=0.006)
            assert not trial.has_diverged(found)


def test_the_hand_loop_tells_divergence() -> None:
    made, data = load(WORKLOADS[MAIN])
    setting = Setting(optimizer="SGD", arguments={"lr": 1e6}, batch_size=32)
    trial = PlainTrial(made, data, setting, seed=0, epochs=1, way=WAYS[FUSED])
    assert trial.has_diverged(trial.train_epoch())
    assert main_job.judged(trial, {"train_loss": math.nan, "val_loss": 1.0}) == main_job.LOST
    gentle = replace(setting, arguments={"lr": 0.01})
    trial = PlainTrial(made, data, gentle, seed=0, epochs=1, way=WAYS[FUSED])
    first = trial.train_epoch()["train_loss"]
    assert not trial.has_diverged({"train_loss": 900 * first, "val_loss": 1.0})
    assert trial.has_diverged({"train_loss": 1200 * first, "val_loss": 1.0})


def test_both_sides_count_the_same_trial_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, MAIN, replace(WORKLOADS[MAIN], epochs=2))  # type: ignore[arg-type]
    plan = {"execution": "stacked", "convolutions": "grouped", "width": 4}
    hand = train_half(0, MAIN, FUSED, 6)
    rows = train_rows(0, MAIN, plan, 4, 1, 6)  # six trials in four places: two come later
    assert hand["trial_steps"] == rows["trial_steps"] == 6 * 2 * 44
    assert hand["seconds"] > 0
    assert rows["seconds"] > 0


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        # Forward and weight gradients of each layer, and input gradients of all but the first.
        (MAIN, 2 * 32 * (2 * (64 * 64 + 64 * 64 + 64 * 10) + 64 * 64 + 64 * 10)),
        ("mlp-784", 2 * 128 * (2 * (784 * 256 + 256 * 10) + 256 * 10)),
        (  # 3x3 kernels on 64 and 16 positions of each picture, then 64 features to 10
            "digits-cnn",
            2 * 32 * (2 * 64 * 9 * 8 + 3 * 16 * 8 * 9 * 16 + 3 * 64 * 10),
        ),
        (  # per block: 12 * 32 * 32 weights; attention 2 products forward, 4 backward; then the head
            "chars",
            2 * 512 * 3 * (2 * 12 * 32 * 32 + 32 * 96) + 2 * 2 * 6 * (16 * 4) * 32 * 8 * 32,
        ),
    ],
)
def test_operations_are_those_counted_by_hand(name: str, by_hand: int) -> None:
    assert operations_of(products_of(name)) == by_hand


def test_a_product_counts_multiplications_and_additions() -> None:
    product = Product(batch=2, m=3, k=4, n=5)
    assert (product.operations, product.numbers) == (240, 2 * (12 + 20 + 15))


def test_rivals_search_the_librarys_own_space() -> None:
    text = main_job.FILE.read_text()
    space = load_space(text, source="file", stem="file", catalogue=CATALOGUE).space
    assert space.task == main_job.TASK
    drawn = RandomParameters(1)
    for _ in range(200):
        ours, asked = _spied(drawn)

        theirs = space.draw(_in_order(space, asked))
        assert theirs.to_json() == ours.to_json()


def _spied(drawn: RandomParameters) -> tuple[Setting, dict[str, Any]]:
    """A setting and what was suggested for it, by name."""
    asked: dict[str, Any] = {}

    class Spy:
        def __getattr__(self, kind: str) -> Any:
            def suggest(name: str, *given: Any, **more: Any) -> Any:
                asked[name] = getattr(drawn, kind)(name, *given, **more)
                bounds[name] = (*given, *more.values())
                return asked[name]

            return suggest

    bounds: dict[str, Any] = {}
    setting = main_job.suggested(Spy())
    again = main_job.suggested(main_job.GivenParameters(asked))
    assert again == setting
    asked["bounds"] = bounds
    return setting, asked


def _in_order(space: Any, asked: dict[str, Any]) -> Any:
    """Answers Ravine's own questions of the file with what rivals drew, and compares the ranges."""
    bounds = asked["bounds"]

    def choose(name: str, range_: Any) -> Any:
        short = name.rpartition(".")[2]
        if short == "schedule":
            assert [one.name for one in space.schedules] == list(main_job.SCHEDULES)
            return list(main_job.SCHEDULES).index(asked["schedule"])
        if short == "nesterov":
            return [option.value for option in range_.options].index(asked["nesterov"])
        if short == "momentum":
            low, high, log = bounds["1-momentum"]
            assert (1.0 - range_.high, 1.0 - range_.low, log) == (
                pytest.approx(low),
                pytest.approx(high),
                True,
            )
            return range_.from_distance(asked["1-momentum"])
        low, high, *log = bounds[short]
        assert (range_.low, range_.high) == (low, high)
        assert (type(range_).__name__ == "Log") == bool(log and log[0])
        return asked[short]

    return choose


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("task", speed.DECAY_TASKS)
def test_the_decay_study_is_a_sweep_file(task: str, forks: bool) -> None:
    from workers.local_code import LocalCode

    code = LocalCode({"here": Path.cwd()})
    from search_spaces.files import Overrides

    space = checked_space(sweep_file(task, forks=forks), "file", "file", Overrides(), code).space
    assert (len(space.schedules), space.trials, space.epochs) == (12, 144, 20)
    assert space.branches
    assert space.forks is forks
    assert pytest.approx(3.75) == BOUND


def test_a_process_is_measured_with_its_children() -> None:
    child = "import time\nwhile time.process_time() < 1.5: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
    ran = run([sys.executable, "-c", parent])
    assert (ran.code, ran.output, ran.said) == (0, "done\n", "")
    assert 0.5 < ran.core_seconds < 3.0
    assert ran.seconds > 1.5
    assert run([sys.executable, "-c", "import sys; sys.exit(3)"]).code == 3


def test_a_pair_works_at_once_and_tells_what_broke() -> None:
    with PinnedPair() as pair:
        first, second = pair.both(divmod, 7)
        assert (first.result, second.result) == ((0, 0), (0, 1))
        assert first.ended >= first.began
        with pytest.raises(JobFailed, match="ZeroDivisionError"):
            pair.one(divmod, 0)
        assert pair.one(torch.tensor).result == torch.tensor(0)  # and goes on
