"""With branches every schedule is tried for each proposal, whatever the sampler, and a rebuild goes on exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from search_spaces.catalogue import Suppression
from search_spaces.ranges import Choice, Fixed, LogOneMinus
from search_spaces.space import OptimizerSpace, ScheduleSpace, SearchSpace
from sweeps.proposals import Asked, Proposals, Told
from tests.unit.sweeps_for_tests import space

SAMPLERS = ["tpe", "random", "qmc", "gp", "grid"]
CYCLE = (Suppression(setting="lr"), Suppression(setting="momentum", unless_false="cycle_momentum"))
BRANCHES = (
    ScheduleSpace(name="OneCycleLR", label="OneCycleLR", suppresses=CYCLE),
    ScheduleSpace(name="StepLR", label="StepLR", arguments={"gamma": Fixed(value=0.1)}),
    ScheduleSpace(name="StepLR", label="StepLR#2", arguments={"gamma": Fixed(value=0.5)}),
    ScheduleSpace(
        name="OneCycleLR",
        label="OneCycleLR#2",
        arguments={"cycle_momentum": Fixed(value=False)},
        suppresses=CYCLE,
    ),
)


def branched(sampler: str, **others: Any) -> SearchSpace:
    return replace(space(sampler=sampler, **others), schedules=BRANCHES, branches=True)


def without_cycles(sampler: str) -> SearchSpace:
    return replace(space(sampler=sampler), schedules=BRANCHES[1:3], branches=True)


def bare(asked: Asked) -> Any:
    return asked.index, dict(asked.parameters), asked.setting.to_json()


class Sweep:
    """Proposals that are told results which depend on the setting, and what a store would hold of them."""

    def __init__(self, some: SearchSpace) -> None:
        self.space = some
        self.proposals = Proposals(some)
        self.asked: list[Asked] = []
        self.told: list[Told] = []

    def ask(self, most: int) -> list[Asked]:
        family = list(self.proposals.ask(most))
        self.asked += family
        for new in family:
            reports = {}
            if new.index % 3:
                value = float(str(new.setting.arguments.get("lr", 0.3))) + 0.01 * new.index
                reports = {1: value + 1, 2: value}
            for epoch, value in reports.items():
                self.proposals.report(new.index, epoch, value)
            end = "finished" if reports else None
            if end:
                self.proposals.end(new.index, end)
            attributes = self.proposals.attributes(new.index)
            told = Told(
                index=new.index, parameters=new.parameters, attributes=attributes, reports=reports, end=end
            )
            self.told.append(told)
        return family

    def rebuilt(self) -> Proposals:
        proposals = Proposals(self.space)
        proposals.rebuild(self.told)
        return proposals


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_each_proposal_has_every_branch(sampler: str) -> None:
    sweep = Sweep(branched(sampler))
    for proposal in range(12):
        family = sweep.ask(100)
        assert [one.index for one in family] == list(range(4 * proposal, 4 * proposal + 4))
        assert [one.setting.schedule.name for one in family] == [
            "StepLR",  # it leaves most to the proposal, and so is asked first
            "OneCycleLR",
            "StepLR",
            "OneCycleLR",
        ]
        first, cycle, second, without_momentum = (one.setting for one in family)
        assert first.beginning == second.beginning
        assert (first.schedule.arguments, second.schedule.arguments) == ({"gamma": 0.1}, {"gamma": 0.5})
        assert set(cycle.arguments) == {"nesterov"}
        assert set(without_momentum.arguments) == {"momentum", "nesterov"}
        assert without_momentum.arguments["momentum"] == first.arguments["momentum"]
        parameters = [dict(one.parameters) for one in family]
        assert [one.pop("schedule") for one in parameters] == [1, 0, 2, 3]
        for one in parameters[1:]:
            assert one == {name: parameters[0][name] for name in one}
    assert len({str(one.setting.to_json()) for one in sweep.asked if one.index % 4 == 0}) == 12


def test_in_a_grid_each_point_has_every_branch_that_differs_there() -> None:
    sweep = Sweep(branched("grid"))
    families = [[one.setting.schedule.name for one in sweep.ask(100)] for _ in range(4 * 3 * 2)]
    assert families[0] == ["OneCycleLR", "StepLR", "StepLR", "OneCycleLR"]
    assert families[-1] == ["StepLR", "StepLR"]
    assert sum(map(len, families)) == 2 * 24 + 2 + 3 * 2
    assert sweep.ask(100) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_rest_of_a_family_that_was_cut_comes_next(sampler: str) -> None:
    whole, cut = Sweep(without_cycles(sampler)), Sweep(without_cycles(sampler))
    for _ in range(10):
        whole.ask(2)
        assert [len(cut.ask(1)), len(cut.ask(5))] == [1, 1]
    assert [bare(one) for one in cut.asked] == [bare(one) for one in whole.asked]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_rebuilt_study_goes_on_as_the_undisturbed_one(sampler: str, cut: int) -> None:
    sweep = Sweep(branched(sampler))
    for _ in range(11):
        sweep.ask(100)
    if cut:
        sweep.ask(cut)
    rebuilt = sweep.rebuilt()
    for most in (2, 100, 1, 100):
        assert [bare(one) for one in rebuilt.ask(most)] == [bare(one) for one in sweep.proposals.ask(most)]


def test_tpe_begins_to_learn_after_ten_proposals_not_settings() -> None:
    """Up to then a proposal is at random, and so does not depend on results."""
    proposals = {}
    for sign in (1.0, -1.0):
        study = Proposals(without_cycles("tpe"))
        found = proposals[sign] = []
        for _ in range(14):
            family = study.ask(2)
            found.append(bare(family[0]))
            for one in family:
                study.report(one.index, 6, sign * float(str(one.setting.arguments["lr"])))
                study.end(one.index, "finished")
    assert proposals[1.0][:10] == proposals[-1.0][:10]
    assert proposals[1.0][10] != proposals[-1.0][10]


def test_tpe_learns_from_every_branch() -> None:
    study = Proposals(without_cycles("tpe"))
    distances = []
    for _ in range(40):
        family = study.ask(2)
        lr = float(str(family[0].setting.arguments["lr"]))
        distances.append(abs(lr - 0.1))
        for one in family:
            study.report(one.index, 6, (lr - 0.1) ** 2 + 0.01 * (one.index % 2))
            study.end(one.index, "finished")
    assert sorted(distances[:10])[5] > 2 * sorted(distances[-10:])[5]


def test_proposals_of_qmc_are_those_of_the_same_sweep_without_branches() -> None:
    """A proposal takes one point of the sequence, however many branches it has."""
    branched_, single = without_cycles("qmc"), replace(space(sampler="qmc"), schedules=BRANCHES[1:2])
    study, other = Proposals(branched_), Proposals(single)
    for _ in range(16):
        assert study.ask(2)[0].setting.arguments == other.ask(1)[0].setting.arguments


def test_choices_within_choices_are_taken_over() -> None:
    nested = Choice(options=(Fixed(value=0.1), LogOneMinus(low=0.5, high=0.9)))
    optimizers = tuple(
        OptimizerSpace(name=name, label=name, arguments={"lr": nested}) for name in ("SGD", "Adam")
    )
    study = Proposals(replace(without_cycles("random"), optimizers=optimizers))
    families = [study.ask(2) for _ in range(50)]
    assert all(first.setting.beginning == second.setting.beginning for first, second in families)
    assert len({family[0].setting.optimizer for family in families}) == 2
