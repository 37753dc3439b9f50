"""``gp`` learns what only some settings have; Optuna's own would draw that at random."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from search_spaces.catalogue import Suppression
from search_spaces.ranges import Log
from search_spaces.settings import Setting
from search_spaces.space import OptimizerSpace, ScheduleSpace, SearchSpace
from sweeps.proposals import Proposals, Told
from tests.unit.sweeps_for_tests import space

CYCLE = ScheduleSpace(
    name="OneCycleLR",
    label="OneCycleLR",
    arguments={"max_lr": Log(low=1e-3, high=10.0)},
    suppresses=(Suppression(setting="lr"),),
)
ADAM = OptimizerSpace(name="Adam", label="Adam", arguments={"lr": Log(low=1e-6, high=1.0)})
SPACES = {
    "a schedule that sets lr": replace(space(), schedules=(*space().schedules, CYCLE)),
    "two optimizers": replace(space(), optimizers=(*space().optimizers, ADAM)),
}


def distance(setting: Setting) -> float:
    """From the best learning rate of its kind, in decades."""
    lr = setting.arguments.get("lr", setting.schedule.arguments.get("max_lr"))
    best = 1.0 if setting.schedule.name == "OneCycleLR" else 1e-4 if setting.optimizer == "Adam" else 0.1
    return abs(math.log10(float(str(lr)) / best))


def told(some: SearchSpace, count: int) -> list[Told]:
    proposals = Proposals(replace(some, sampler="random"))
    asked = [proposals.ask(1)[0] for _ in range(count)]
    return [
        Told(
            index=one.index,
            parameters=one.parameters,
            attributes={},
            reports={6: distance(one.setting) ** 2},
            end="finished",
        )
        for one in asked
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPACES)
def test_conditional_numbers_are_learned(kind: str) -> None:
    some = SPACES[kind]
    proposals = Proposals(replace(some, sampler="gp"))
    proposals.rebuild(told(some, 45))
    for _ in range(3):
        (asked,) = proposals.ask(1)
        assert distance(asked.setting) < 0.15


def test_a_group_that_few_have_is_drawn_at_random() -> None:
    some = SPACES["two optimizers"]
    few = [one for one in told(some, 60) if one.parameters["optimizer"] == 0]
    few += [one for one in told(some, 60) if one.parameters["optimizer"] == 1][:3]
    proposals = Proposals(replace(some, sampler="gp"))
    proposals.rebuild([replace(one, index=index) for index, one in enumerate(few)])
    assert proposals.ask(1)
