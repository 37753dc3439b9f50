"""What a sweep file says of a range test, and which of its ranges one narrows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces.range_test import RangeTest, momenta_between
from search_spaces.ranges import Log, Uniform
from search_spaces.rate_axes import rates_of, room_for_starts, with_bounds
from search_spaces.space import SearchSpace
from search_spaces.starts import StartPoint
from tests.unit.test_search_space_errors import GOOD, HEAD, load, the_problem

RANGES = HEAD + "optimizer: {SGD: {lr: {log: [1e-4, 1.0]}, momentum: {log1m: [0.0, 0.99]}}}\n"


def space_of(text: str) -> SearchSpace:
    return load(text).space


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("range_test: false\n", None),
        ("range_test:\n", None),
        ("range_test: true\n", RangeTest()),
        ("range_test: {}\n", RangeTest(momenta=None, updates=200, seeds=None)),
        (
            "range_test: {momenta: [0, 0.9], updates: 400, seeds: [0, 1]}\n",
            RangeTest(momenta=(0.0, 0.9), updates=400, seeds=(0, 1)),
        ),
    ],
)
def test_it_is_read(text: str, wanted: RangeTest | None) -> None:
    assert space_of(GOOD + text).range_test == wanted


@pytest.mark.parametrize(
    ("text", "field", "got"),
    [
        ("range_test: 200\n", "range_test", "got 200"),
        ("range_test: {momentum: [0.9]}\n", "range_test.momentum", "unknown field 'momentum'"),
        ("range_test: {updates: 10}\n", "range_test.updates", "got 10"),
        ("range_test: {momenta: 0.9}\n", "range_test.momenta", "got 0.9"),
        ("range_test: {momenta: []}\n", "range_test.momenta", "got an empty list"),
        ("range_test: {momenta: [0.5, 1.0]}\n", "range_test.momenta", "got 1.0"),
        ("range_test: {momenta: [0.5, 0.5]}\n", "range_test.momenta", "got 0.5"),
        ("range_test: {momenta: [true]}\n", "range_test.momenta", "got true"),
        ("range_test: {seeds: [-1]}\n", "range_test.seeds", "got -1"),
        ("range_test: {seeds: [2, 2]}\n", "range_test.seeds", "got 2 again"),
    ],
)
def test_mistakes_are_told(text: str, field: str, got: str) -> None:
    problem = the_problem(GOOD + text)
    assert (problem.line, problem.field, problem.got) == (6, field, got)


def test_momenta_are_the_ends_and_the_usual_one() -> None:
    assert momenta_between(0.0, 0.99) == (0.0, 0.9, 0.99)
    assert momenta_between(0.0, 0.5) == (0.0, 0.5)
    assert momenta_between(0.95, 0.99) == (0.95, 0.99)
    assert momenta_between(0.9, 0.9) == (0.9,)


def test_the_range_of_lr_is_an_axis() -> None:
    (rates,), left = rates_of(space_of(RANGES))
    (axis,) = rates.axes
    assert (axis.name, axis.low, axis.high, axis.warms_up) == ("SGD.lr", 1e-4, 1.0, False)
    assert rates.tried([0.0]) == (1e-4, 1.0)
    assert left == ()
    (warm,) = rates_of(space_of(RANGES + "warmup: {epochs: 1}\n"))[0][0].axes
    assert warm.warms_up


@pytest.mark.parametrize(
    ("lr", "reason"),
    [
        ("0.1", "it is fixed"),
        ("[0.1, 0.3]", "it is no range between two learning rates"),
        ("{log: [0.1, 0.15]}", "its ends are less than a factor of 2 apart"),
    ],
)
def test_other_rates_are_left_and_said(lr: str, reason: str) -> None:
    found, left = rates_of(space_of(HEAD + f"optimizer: {{SGD: {{lr: {lr}}}}}\n"))
    assert found == ()
    assert left == (f"SGD.lr is left as it is: {reason}",)


def test_a_range_from_zero_is_tried_from_above_zero() -> None:
    (rates,), _ = rates_of(space_of(HEAD + "optimizer: {SGD: {lr: {uniform: [0.0, 1.0]}}}\n"))
    assert rates.tried([0.0]) == (1e-6, 1.0)


def test_an_effective_rate_is_tried_where_its_learning_rates_are() -> None:
    (rates,), _ = rates_of(space_of(RANGES.replace("log: [1e-4, 1.0]", "effective: [0.01, 10]")))
    (axis,) = rates.axes
    assert (axis.low, axis.high, axis.effective) == (0.01, 10.0, True)
    assert rates.tried([0.0, 0.9]) == pytest.approx((0.001, 10.0))
    assert rates.tried([0.9]) == pytest.approx((0.001, 1.0))


def test_the_peak_of_a_schedule_that_sets_the_rate_is_an_axis_too() -> None:
    both = RANGES + "schedule: [{ConstantLR: {factor: 1.0}}, {OneCycleLR: {max_lr: {log: [0.01, 2.0]}}}]\n"
    (rates,), left = rates_of(space_of(both))
    assert [(axis.name, axis.warms_up) for axis in rates.axes] == [
        ("SGD.lr", False),
        ("OneCycleLR.max_lr", True),
    ]
    assert rates.tried([0.0]) == (1e-4, 2.0)
    assert (rates.momentum_is_set, left) == (False, ())
    alone = RANGES + "schedule: {OneCycleLR: {max_lr: {log: [0.01, 2.0]}}}\n"
    (rates,), left = rates_of(space_of(alone))
    assert [axis.name for axis in rates.axes] == ["OneCycleLR.max_lr"]
    assert rates.momentum_is_set
    assert left == ("SGD.lr is left as it is: the schedules set the learning rate themselves",)
    fixed = RANGES + "schedule: {OneCycleLR: {max_lr: 0.5}}\n"
    assert rates_of(space_of(fixed))[0] == ()
    assert "OneCycleLR.max_lr is left as it is: it is fixed" in rates_of(space_of(fixed))[1]


def test_bounds_are_put_where_their_names_say_and_nowhere_else() -> None:
    text = HEAD + "optimizer:\n  - SGD: {lr: {log: [1e-4, 1.0]}}\n  - SGD: {lr: {uniform: [0.1, 1.0]}}\n"
    text += "schedule: [{OneCycleLR: {max_lr: {log: [0.01, 2.0]}}}, constant]\n"
    space = space_of(text)
    found = with_bounds(space, {"SGD#2.lr": (0.2, 0.5), "OneCycleLR.max_lr": (0.1, 1.0)})
    assert found.optimizers[0] == space.optimizers[0]
    assert found.optimizers[1].arguments["lr"] == Uniform(low=0.2, high=0.5)
    assert found.schedules[0].arguments["max_lr"] == Log(low=0.1, high=1.0)
    assert with_bounds(space, {}) == space


def test_the_files_start_points_keep_their_place_and_defaults_do_not() -> None:
    space = space_of(RANGES + "start: [{lr: 0.002}, {lr: 0.05}]\n")
    space = replace(space, start=space.start[:2])
    bounds = room_for_starts(space, {"SGD.lr": (0.01, 0.08), "OneCycleLR.max_lr": (0.1, 1.0)})
    assert bounds == {"SGD.lr": (0.002, 0.08), "OneCycleLR.max_lr": (0.1, 1.0)}
    default = StartPoint(values={"SGD.lr": 0.1}, is_default=True)
    inside = StartPoint(values={"SGD.lr": 0.03}, is_default=True)
    with_defaults = replace(space, start=(*space.start, default, inside))
    assert room_for_starts(with_defaults, {"SGD.lr": (0.01, 0.08)}) == {"SGD.lr": (0.002, 0.08)}
    assert with_bounds(with_defaults, bounds).start == (*space.start[:2], inside)
