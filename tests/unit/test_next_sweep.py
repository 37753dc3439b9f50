"""A stored sweep's trials to the space of the next: every kind of dimension, in its place in the file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from dashboards.ended_settings import ended_settings
from dashboards.next_sweep import Change, NextSweep, next_sweep
from search_spaces.changing import changed_space, fields_of
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Tuple, Uniform
from search_spaces.space import (
    Metric,
    OptimizerSpace,
    ScheduleSpace,
    SearchSpace,
    dimensions,
)
from sweeps.parameters import parameter_of
from sweeps.records import Proposal, TrialRow, TrialState
from tests.unit.catalogue_for_tests import CATALOGUE

SPACE = SearchSpace(
    name="s",
    task="digits-mlp",
    metric=Metric(name="val_loss", goal="minimize"),
    epochs=20,
    trials=200,
    optimizers=(
        OptimizerSpace(
            name="SGD",
            label="SGD",
            arguments={
                "lr": Log(low=1e-4, high=1e-2),
                "momentum": LogOneMinus(low=0.0, high=0.99),
                "nesterov": Choice(options=(Fixed(value=False), Fixed(value=True))),
                "dampening": Uniform(low=0.0, high=0.5),
            },
        ),
        OptimizerSpace(
            name="Adam",
            label="Adam",
            arguments={"betas": Tuple(items=(Uniform(low=0.5, high=0.99), Fixed(value=0.99)))},
        ),
    ),
    schedules=(
        ScheduleSpace(name="constant", label="constant"),
        ScheduleSpace(
            name="StepLR",
            label="StepLR",
            arguments={"step_size": Integer(low=3, high=15), "gamma": Uniform(low=0.05, high=0.9)},
        ),
    ),
)


def row(number: int, state: TrialState, value: float | None, **others: Any) -> TrialRow:
    base: dict[str, Any] = {
        "number": number, "setting_index": number, "seed": 0, "admitted_round": 1, "lane": 0,
        "optimizer": "SGD", "schedule": "constant", "setting": {}, "lr": None, "momentum": None,
        "weight_decay": None, "nesterov": None, "sweep_id": 1, "state": state, "attempt": 0, "cause": None,
        "detail": None, "value": value, "epochs_done": 1, "peak_lr": None, "final_lr": None,
    }  # fmt: skip
    return TrialRow(**(base | others))


def swept(
    space: SearchSpace, result: Callable[[Mapping[str, Any]], float], trials: int = 200
) -> tuple[list[TrialRow], list[Proposal]]:
    """At random; ``result`` of what was chosen: None or a state's name ends a trial otherwise."""
    draw = random.Random(0)
    rows, proposals = [], []
    for index in range(trials):
        told: dict[str, Any] = {}
        parameters: dict[str, Any] = {}

        def choose(name: str, range_: Any, told: Any = told, parameters: Any = parameters) -> Any:
            value = range_.at(draw.random())
            told[name], parameters[name] = value, parameter_of(range_, value)
            return value

        space.draw(choose)
        value = result(told) + draw.gauss(0.0, 0.02)
        rows.append(row(index, TrialState.finished, value))
        proposals.append(Proposal(index=index, parameters=parameters, attributes={}))
    return rows, proposals


def after(space: SearchSpace, result: Callable[[Mapping[str, Any]], float], trials: int = 200) -> NextSweep:
    return next_sweep(space, *swept(space, result, trials), CATALOGUE)


def change(found: NextSweep, name: str) -> Change:
    return next(change for change in found.changes if change.name == name)


def planted(told: Mapping[str, Any]) -> float:
    """SGD wins, at a high lr and momentum near 0.9; gamma is best low; the rest is nothing."""
    if told.get("optimizer") == 1:
        return 3.0
    found = (-2.0 - math.log10(told["SGD.lr"])) + abs(told["SGD.momentum"] - 0.9)
    return float(found) + (2.0 * told["StepLR.gamma"] if "StepLR.gamma" in told else 0.0)


def test_every_dimension_gets_what_the_trials_say() -> None:
    found = after(SPACE, planted, 400)
    assert [optimizer.label for optimizer in found.space.optimizers] == ["SGD"]
    arguments = found.space.optimizers[0].arguments
    assert arguments["lr"] == Log(low=pytest.approx(5e-4, rel=0.9), high=0.1)  # type: ignore[arg-type]
    momentum = arguments["momentum"]
    assert isinstance(momentum, LogOneMinus)
    assert 0.1 < momentum.low < 0.9 < momentum.high
    assert arguments["nesterov"] == Fixed(value=False)
    assert arguments["dampening"] == Fixed(value=0)
    assert "PyTorch's default" in change(found, "SGD.nesterov").reason
    assert "widened to see what is beyond" in change(found, "SGD.lr").reason
    (step,) = (one for one in found.space.schedules if one.label == "StepLR")
    gamma = step.arguments["gamma"]
    assert isinstance(gamma, Uniform)
    assert gamma.low == 0.025  # halfway to 0
    assert isinstance(step.arguments["step_size"], Fixed)  # PyTorch has no default for it: the best trial's
    assert all(not one.name.startswith("Adam.") for one in found.changes)  # nothing is left to say of it
    assert found.ended == found.finished == 400
    assert 0 < found.inside < 400


def test_nothing_changes_where_nothing_is_there() -> None:
    found = after(SPACE, lambda _: 0.0, 60)
    assert found.space == SPACE
    assert all(one.after == one.before for one in found.changes)
    assert {one.name for one in found.changes} == set(dimensions(SPACE))


def test_what_is_to_be_kept_is_kept() -> None:
    rows, proposals = swept(SPACE, planted)
    found = next_sweep(SPACE, rows, proposals, CATALOGUE, keep=frozenset(dimensions(SPACE)))
    assert (found.space, found.changes) == (SPACE, ())


def test_a_metric_that_is_maximized() -> None:
    space = replace(SPACE, metric=Metric(name="val_accuracy", goal="maximize"))
    rows, proposals = swept(SPACE, planted)
    lower = next_sweep(SPACE, rows, proposals, CATALOGUE)
    negative = [replace(one, value=-float(str(one.value))) for one in rows]
    assert next_sweep(space, negative, proposals, CATALOGUE).changes == lower.changes


def test_how_settings_end() -> None:
    def result(*trials: TrialRow) -> list[float]:
        rows = [replace(one, setting_index=0) for one in trials]
        told = [Proposal(index=0, parameters={"SGD.momentum": 0.1}, attributes={})]
        return [value for _, value in ended_settings(SPACE, rows, told)]

    finished, other = row(0, TrialState.finished, 1.0), row(1, TrialState.finished, 2.0)
    assert result(finished, other) == [1.5]  # two seeds
    assert result(finished, row(1, TrialState.diverged, 0.1)) == [float("inf")]
    assert result(finished, row(1, TrialState.pruned, 0.1)) == []
    assert result(row(1, TrialState.failed, None)) == []
    assert result(row(1, TrialState.running, 0.4)) == []
    told = Proposal(index=0, parameters={"SGD.momentum": 0.1}, attributes={})
    assert ended_settings(SPACE, [finished], [told]) == [({"SGD.momentum": 0.9}, 1.0)]


def test_branches_are_one_setting_and_stay() -> None:
    space = replace(
        SPACE,
        branches=True,
        schedules=tuple(
            ScheduleSpace(name="ConstantLR", label=label, arguments={"factor": Fixed(value=factor)})
            for label, factor in (("ConstantLR", 1.0), ("ConstantLR#2", 0.5))
        ),
    )
    parameters = [{"SGD.lr": 1e-3, "schedule": index % 2} for index in range(4)]
    proposals = [Proposal(index=i, parameters=one, attributes={}) for i, one in enumerate(parameters)]
    rows = [row(index, TrialState.finished, value) for index, value in enumerate((3.0, 1.0, 5.0, 7.0))]
    assert ended_settings(space, rows, proposals) == [({"SGD.lr": 1e-3}, 1.0), ({"SGD.lr": 1e-3}, 5.0)]
    found = after(space, lambda told: float(told["schedule"]), 80)
    assert found.space.schedules == space.schedules


def test_where_dimensions_stand_in_the_file() -> None:
    nested = ScheduleSpace(
        name="SequentialLR",
        label="SequentialLR",
        arguments={
            "schedulers": (
                ScheduleSpace(
                    name="StepLR",
                    label="SequentialLR.0.StepLR",
                    arguments={"gamma": Uniform(low=0.1, high=0.5)},
                ),
            )
        },
    )
    space = replace(
        SPACE,
        schedules=(*SPACE.schedules, nested),
        task_arguments={"condition": Log(low=1.0, high=9.0)},
        batch_size=Choice(options=(Fixed(value=8), Integer(low=9, high=99))),
    )
    fields = fields_of(space)
    assert set(fields) == set(dimensions(space))
    assert fields["Adam.betas.0"] == "optimizer.Adam.betas"
    assert fields["batch_size[1]"] == "batch_size"
    assert fields["task.condition"] == "task_args.condition"
    assert fields["SequentialLR.0.StepLR.gamma"] == "schedule.SequentialLR.0.StepLR.gamma"
    ranges = {name: Fixed(value=1) for name in fields if name not in ("optimizer", "schedule", "batch_size")}
    fixed = changed_space(space, ranges, {"batch_size": [0], "schedule": [0], "optimizer": [0]})
    assert dimensions(fixed).keys() == {"schedule"}
    assert fixed.batch_size == Fixed(value=1)
    assert [one.label for one in fixed.schedules] == ["StepLR", "SequentialLR"]
