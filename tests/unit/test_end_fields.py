"""The fields that say when a sweep ends, as they are read and refused, and what people are told of them."""

from __future__ import annotations

import pytest

from dashboards.budget_words import budget_lines
from search_spaces.errors import SpaceErrors
from search_spaces.files import LoadedSpace, Overrides, load_space
from search_spaces.limits import Limits, Terminator
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
"""
SGD = "optimizer: {SGD: {lr: {log: [1e-4, 1.0]}, momentum: 0.9}}\n"


NO_OVERRIDES = Overrides()


def load(text: str, overrides: Overrides = NO_OVERRIDES) -> LoadedSpace:
    return load_space(text, source="s.yaml", stem="s", catalogue=CATALOGUE, overrides=overrides)


def refused(text: str, overrides: Overrides = NO_OVERRIDES) -> list[str]:
    with pytest.raises(SpaceErrors) as error:
        load(text, overrides)
    return [str(problem) for problem in error.value.problems]


def test_a_file_that_says_nothing_has_no_limits_and_no_terminator() -> None:
    space = load(HEAD + SGD).space
    assert (space.budget, space.terminator) == (Limits(), Terminator())
    assert list(budget_lines(space, epochs=1280, epoch_seconds=1.0, workers=2)) == []


def test_each_limit_may_be_given() -> None:
    text = HEAD + SGD + "budget: {epochs: 500, wall_seconds: 90, device_hours: 0.5}\n"
    assert load(text).space.budget == Limits(epochs=500, wall_seconds=90.0, device_hours=0.5)
    assert load(HEAD + SGD + "budget: {}\n").space.budget == Limits()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Terminator()),
        ("no_improvement", Terminator(name="no_improvement", settings=50, by=0.01)),
        ("{no_improvement: {settings: 7, by: 0}}", Terminator(name="no_improvement", settings=7, by=0.0)),
        ("optuna", Terminator(name="optuna", settings=20, by=0.1, every=10)),
        ("{optuna: {by: 0.2, every: 3}}", Terminator(name="optuna", settings=20, by=0.2, every=3)),
    ],
)
def test_terminators_and_their_defaults(text: str, expected: Terminator) -> None:
    assert load(f"{HEAD}{SGD}terminator: {text}\n").space.terminator == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget: 500", ["line 6", "budget: got 500", "{epochs: ..., wall_seconds: ..., device_hours: ...}"]),
        ("budget: {trials: 5}", ["budget.trials", "trials stands beside budget"]),
        ("budget: {wall: 5}", ["budget.wall", "did you mean 'wall_seconds'?"]),
        ("budget: {epoch: 5}", ["budget.epoch", "did you mean 'epochs'?"]),
        ("budget: {epochs: 19}", ["budget.epochs", "got 19", "at least the 20 of one setting"]),
        (
            "budget: {epochs: 99}\nconfirm: {top: 2, seeds: 3}",
            ["at least the 140 of one setting (20 epochs x 1 seed, and 2 x 3 trials to confirm)"],
        ),
        ("budget: {epochs: 1e3}", ["budget.epochs", "a whole number"]),
        ("budget: {wall_seconds: 2h30m}", ["budget.wall_seconds", "'2h30m'", "a number of seconds above 0"]),
        ("budget: {wall_seconds: 0}", ["a number of seconds above 0"]),
        ("budget: {device_hours: .inf}", ["budget.device_hours", "a number of hours above 0"]),
        ("budget: {device_hours: true}", ["a number of hours above 0"]),
        ("terminator: never", ["terminator", "'never'", "one of none, no_improvement, optuna"]),
        ("terminator: {none: {by: 1}}", ["terminator.none.by", "unknown argument"]),
        ("terminator: {no_improvement: {every: 1}}", ["terminator.no_improvement.every"]),
        ("terminator: {no_improvement: {settings: 0}}", ["a whole number from 1"]),
        ("terminator: {no_improvement: {by: 1}}", ["a share of the best value, from 0 to below 1"]),
        ("terminator: {optuna: {settings: 19}}", ["terminator.optuna.settings", "from 20 to"]),
    ],
)
def test_what_is_wrong_is_told(text: str, words: list[str]) -> None:
    (problem,) = refused(f"{HEAD}{SGD}{text}\n")
    assert all(word in problem for word in words), problem


def test_a_budget_below_one_setting_of_all_seeds_is_refused_with_the_command_lines_epochs_too() -> None:
    text = HEAD + SGD + "seeds: [0, 1]\nbudget: {epochs: 40}\n"
    assert load(text).space.budget.epochs == 40
    (problem,) = refused(text, Overrides(epochs=21))
    assert "at least the 42 of one setting (21 epochs x 2 seeds)" in problem


def test_optunas_terminator_is_refused_where_settings_have_no_range_in_common() -> None:
    two = "optimizer:\n  - SGD: {lr: {log: [1e-4, 1.0]}}\n  - Adam: {lr: {log: [1e-4, 1.0]}}\n"
    (problem,) = refused(HEAD + two + "terminator: optuna\n")
    assert "by the ranges that all of them have, and there is none" in problem
    cycles = "schedule:\n  - constant\n  - OneCycleLR: {max_lr: {log: [0.01, 1.0]}}\n"
    (problem,) = refused(HEAD + SGD + cycles + "terminator: optuna\n")
    assert problem.startswith("line 9: terminator")
    assert load(HEAD + two + "batch_size: [16, 32]\nterminator: optuna\n").space.terminator.name == "optuna"


def test_what_optunas_terminator_cannot_see_is_told() -> None:
    steps = "schedule:\n  - constant\n  - StepLR: {step_size: 5, gamma: {uniform: [0.1, 0.9]}}\n"
    loaded = load(HEAD + SGD + steps + "terminator: optuna\n")
    assert loaded.notes == (
        "terminator optuna sees lr only, which all settings have; what schedule.gamma changes is noise to it",
    )
    assert load(HEAD + SGD + "terminator: optuna\n").notes == ()


def test_check_shows_the_budget_beside_what_the_sweep_would_cost() -> None:
    text = (
        HEAD + SGD + "budget: {epochs: 500, wall_seconds: 400, device_hours: 1}\nterminator: no_improvement\n"
    )
    epochs, wall, device, terminator = budget_lines(
        load(text).space, epochs=1280, epoch_seconds=1.0, workers=2
    )
    assert epochs == (
        "budget: 500 trained epochs; all settings would take 1,280 at most, so it admits at least 25 settings "
        "of 20 epochs"
    )
    assert wall == (
        "budget: 6 min 40 s of wall time; all settings would take about 10 min 40 s at most, so it admits "
        "about 62 % of the settings"
    )
    assert device == (
        "budget: 1 h 0 min of devices suffice for all settings, which take about 21 min 20 s at most"
    )
    more = (
        "seeds: [0, 1]\npruner: {decay_fair: {rungs: 3, cooldown_epochs: 2}}\nconfirm: {top: 2, seeds: 5}\n"
    )
    first, *_ = budget_lines(load(text + more).space, epochs=1280, epoch_seconds=1.0, workers=2)
    assert first.endswith(
        "so it admits at least 6 settings of 44 epochs beside the 200 that are kept for confirming, more "
        "where some are pruned"
    )
    assert "none of the last 50 ended settings was better than the best before by more than 1 %" in terminator


@pytest.mark.parametrize(("text", "expected"), [("3", "3"), ("a sweep", "a sweep"), ("null", None)])
def test_a_warm_start_names_a_sweep(text: str, expected: str | None) -> None:
    assert load(f"{HEAD}{SGD}warm_start: {text}\n").space.warm_start == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("warm_start: [3]", ["warm_start", "the id or name of a sweep"]),
        ("warm_start: 0", ["got 0"]),
        ("warm_start: true", ["the id or name of a sweep"]),
        ("warm_start: ''", ["the id or name of a sweep"]),
        (
            "warm_start: 3\nsampler: qmc",
            ["line 6", "sampler: qmc", "the same whatever is known", "tpe, gp or"],
        ),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused(text: str, words: list[str]) -> None:
    (problem,) = refused(f"{HEAD}{SGD}{text}\n")
    assert all(word in problem for word in words), problem
