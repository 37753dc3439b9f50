"""A rebuilt study proposes what the lost one would have proposed."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.proposals import Asked, Proposals, Told, seed_of
from tests.unit.sweeps_for_tests import space

SAMPLERS = ["tpe", "random", "qmc", "grid"]


def value_of(asked: Asked, epoch: int) -> float:
    return (float(str(asked.setting.arguments["lr"])) - 0.1) ** 2 + 1 / epoch


def heard(proposals: Proposals, count: int) -> tuple[list[Asked], list[Told]]:
    """``count`` proposals, each second one finished, each fifth pruned, and what a store would hold."""
    asked, told = [], []
    for index in range(count):
        (new,) = proposals.ask(1)
        reports: dict[int, float] = {}
        end = None
        if index % 2 == 0:
            reports = {epoch: value_of(new, epoch) for epoch in (1, 2, 3)}
            end = "pruned" if index % 5 == 0 else "finished"
        for epoch, value in reports.items():
            proposals.report(index, epoch, value)
        if end:
            proposals.end(index, end)
        asked.append(new)
        told.append(
            Told(
                index=index,
                parameters=new.parameters,
                attributes=proposals.attributes(index),
                reports=reports,
                end=end,
            )
        )
    return asked, told


def bare(asked: Asked) -> Any:
    return asked.parameters, asked.setting.to_json()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rebuilt_equals_never_lost(sampler: str) -> None:
    some = space(sampler=sampler)
    kept = Proposals(some)
    _, told = heard(kept, 30)
    rebuilt = Proposals(some)
    rebuilt.rebuild(told)
    for _ in range(12):
        assert [bare(one) for one in rebuilt.ask(1)] == [bare(one) for one in kept.ask(1)]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_settings_are_distinct(sampler: str) -> None:
    asked, _ = heard(Proposals(space(sampler=sampler)), 40)
    assert len({str(bare(one)) for one in asked}) == 40


def test_the_seed_decides() -> None:
    first = [bare(one) for one in heard(Proposals(space(seed=0)), 20)[0]]
    again = [bare(one) for one in heard(Proposals(space(seed=0)), 20)[0]]
    other = [bare(one) for one in heard(Proposals(space(seed=1)), 20)[0]]
    assert first == again
    assert first != other
    assert seed_of(0, 1) != seed_of(1, 0)


def test_tpe_learns() -> None:
    """With the target at lr 0.1, later proposals are nearer to it than early ones."""
    proposals = Proposals(space())
    distances = []
    for index in range(80):
        (asked,) = proposals.ask(1)
        distances.append(abs(float(str(asked.setting.arguments["lr"])) - 0.1))
        proposals.report(index, 6, value_of(asked, 6))
        proposals.end(index, "finished")
    assert sorted(distances[:20])[10] > 2 * sorted(distances[-20:])[10]


def test_qmc_fills_every_axis_evenly() -> None:
    asked, _ = heard(Proposals(space(sampler="qmc")), 64)
    schedules = [one.setting.schedule.name for one in asked]
    assert abs(schedules.count("StepLR") - 32) <= 1
    low = sum(float(str(one.setting.arguments["lr"])) < 10**-1.5 for one in asked)
    assert abs(low - 32) <= 2


def test_a_grid_knows_beforehand_that_it_is_exhausted() -> None:
    space_ = space(sampler="grid")
    proposals = Proposals(space_)
    asked = []
    while not proposals.exhausted:
        asked += proposals.ask(7)
    assert len(asked) == 4 * 3 * 2 * (1 + 2 * 2)
    assert proposals.ask(1) == ()
    rebuilt = Proposals(space_)
    rebuilt.rebuild([Told(index=one.index, parameters=one.parameters, attributes={}) for one in asked])
    assert rebuilt.exhausted
    assert not Proposals(space(sampler="random")).exhausted


def test_a_bounded_grid_ends() -> None:
    proposals = Proposals(space(sampler="grid"))
    count = 0
    while family := proposals.ask(100):
        count += len(family)
    assert count == 4 * 3 * 2 * 5
    assert proposals.ask(1) == ()


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_pruners_are_optunas(pruner: str) -> None:
    proposals = Proposals(space(pruner=pruner, sampler="random", epochs=9))
    pruned = 0
    for index in range(40):
        (asked,) = proposals.ask(1)
        for epoch in range(1, 9):
            proposals.report(index, epoch, value_of(asked, epoch) + 0.01 * index)
            if proposals.should_prune(index):
                pruned += 1
                proposals.end(index, "pruned")
                break
        else:
            proposals.end(index, "finished")
    assert 5 < pruned < 40


def test_a_pruner_that_refuses_its_arguments() -> None:
    from dataclasses import replace

    from search_spaces.space import Pruner

    wrong = replace(space(), pruner=Pruner(name="asha", arguments={"reduction_factor": 1}))
    with pytest.raises(ValueError, match="asha"):
        Proposals(wrong)


@pytest.mark.parametrize(
    ("sampler", "pruner", "kept"), [("random", "none", 0), ("random", "asha", 3), ("tpe", "none", 3)]
)
def test_settings_are_kept_only_where_somebody_asks_for_them(sampler: str, pruner: str, kept: int) -> None:
    proposals = Proposals(space(sampler=sampler, pruner=pruner))
    for index in range(3):
        proposals.ask(1)
        proposals.report(index, 1, 0.5)
        assert not proposals.should_prune(index) or pruner == "asha"
    proposals.end(0, "finished")
    assert len(proposals.optuna_study.trials) == kept


def test_where_nobody_prunes_optuna_hears_the_last_report_only() -> None:
    reports = {}
    for pruner in ("none", "median"):
        proposals = Proposals(space(sampler="tpe", pruner=pruner))
        proposals.ask(1)
        for epoch in (1, 2, 3):
            proposals.report(0, epoch, 1 / epoch)
        proposals.end(0, "pruned")
        reports[pruner] = proposals.optuna_study.trials[0].intermediate_values
    assert reports == {"none": {3: 1 / 3}, "median": {1: 1.0, 2: 0.5, 3: 1 / 3}}
