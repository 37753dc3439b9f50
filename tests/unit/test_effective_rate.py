"""Learning rates searched by what they come to with momentum, and momentum by its distance to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from search_spaces.errors import SpaceErrors
from search_spaces.files import LoadedSpace, load_space
from search_spaces.ranges import Choice, Effective, LogOneMinus, Numeric, Value, effective_rate, learning_rate
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from sweeps.proposals import Proposals
from workers import rehearsal
from workers.rehearsal import rehearse
from workers.torch_catalogue import torch_catalogue

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 4
trials: 64
"""
BOTH = "optimizer: {SGD: {lr: {effective: [0.01, 10], points: 4}, momentum: {log1m: [0, 0.99], points: 3}}}\n"


def loaded(text: str) -> LoadedSpace:
    catalogue = torch_catalogue()
    return load_space(HEAD + text, source="sweep.yaml", stem="sweep", catalogue=catalogue)


def space(text: str) -> SearchSpace:
    return loaded(text).space


def problems(text: str) -> list[str]:
    with pytest.raises(SpaceErrors) as caught:
        loaded(text)
    return [str(problem) for problem in caught.value.problems]


def drawn(space_: SearchSpace, **answers: Value) -> Setting:
    def choose(name: str, range_: Numeric | Choice) -> Value:
        return answers.get(name.replace(".", "_"), range_.at(0.5))

    return space_.draw(choose)


def number(setting: Setting, name: str) -> float:
    return float(str(setting.arguments[name]))


@pytest.mark.parametrize(
    ("text", "lr"),
    [
        ("{SGD: {lr: {effective: [0.01, 10]}, momentum: 0.9}}", 2.0 * (1 - 0.9)),
        ("{SGD: {momentum: 0.9, nesterov: true, lr: {effective: [0.01, 10]}}}", 2.0 * (1 - 0.9)),
        ("{SGD: {lr: {effective: [0.01, 10]}}}", 2.0),
        ("{SGD: {lr: {effective: [0.01, 10]}, momentum: [0.5]}}", 1.0),
        ("{SGD: {lr: {effective: [0.01, 10]}, momentum: 0.75, dampening: 0}}", 0.5),
        ("{RMSprop: {lr: {effective: [0.01, 10]}, momentum: 0.5}}", 1.0),
    ],
)
def test_the_rate_that_is_trained_is_the_effective_one_less_what_momentum_adds(text: str, lr: float) -> None:
    setting = drawn(space(f"optimizer: {text}"), SGD_lr=2.0, RMSprop_lr=2.0)
    assert setting.arguments["lr"] == lr


def test_one_of_several_ranges_may_be_of_the_effective_rate() -> None:
    both = space("optimizer: {SGD: {lr: [0.3, {effective: [1, 4]}], momentum: 0.5}}")
    assert drawn(both, SGD_lr=0).arguments["lr"] == 0.3
    assert drawn(both, SGD_lr=1).arguments["lr"] == 1.0  # the middle, 2, halved


def test_a_rate_of_its_own_for_biases_stays_as_it_is() -> None:
    groups = "optimizer: {SGD: {lr: {effective: [1, 4]}, bias_lr: [same, {log: [0.01, 1]}], momentum: 0.5}}"
    assert drawn(space(groups), SGD_bias_lr=0).bias_lr is None  # with the weights' own rate, 1
    own = drawn(space(groups), SGD_bias_lr=1)
    assert (own.arguments["lr"], own.bias_lr) == (1.0, pytest.approx(0.1))


def test_a_schedule_that_sets_the_rate_leaves_no_effective_one() -> None:
    text = (
        BOTH + "schedule: [constant, {OneCycleLR: {max_lr: 0.1}}, {CyclicLR: {base_lr: 0.1, max_lr: 0.2}}]\n"
    )
    assert loaded(text).notes == (
        "optimizer.SGD.lr: the effective rate is not searched with OneCycleLR, CyclicLR, "
        "which set the learning rate itself",
    )
    assert set(drawn(space(text), schedule=1).arguments) == set()
    text = BOTH + (
        "schedule:\n  SequentialLR:\n    milestones: {value: [2]}\n"
        "    schedulers: [{StepLR: {step_size: 1}}, {OneCycleLR: {max_lr: 1.0, cycle_momentum: false}}]\n"
    )
    assert "not searched with SequentialLR" in loaded(text).notes[0]
    assert set(drawn(space(text)).arguments) == {"momentum"}


WRONG = [
    ("{Adam: {lr: {effective: [0.1, 1]}}}", ["optimizer.Adam.lr", "betas[0] of Adam takes a mean"]),
    ("{NAdam: {lr: {effective: [0.1, 1]}}}", ["betas[0] of NAdam takes a mean", "another range"]),
    ("{Adagrad: {lr: {effective: [0.1, 1]}}}", ["Adagrad has no momentum"]),
    ("{SGD: {lr: 1, momentum: {effective: [0.1, 1]}}}", ["optimizer.SGD.momentum", "only lr has"]),
    ("{SGD: {lr: 1, bias_lr: {effective: [0.1, 1]}}}", ["optimizer.SGD.bias_lr", "only lr has"]),
    ("{SGD: {lr: {effective: [0, 1]}}}", ["optimizer.SGD.lr.effective", "low > 0"]),
    ("{SGD: {lr: {effective: [2, 1]}}}", ["low <= high"]),
    (
        "{SGD: {lr: {effective: [0.1, 1]}, momentum: 0.9, dampening: 0.1}}",
        ["line 5: optimizer.SGD.dampening: dampening beside an effective rate", "wants dampening: 0"],
    ),
    (
        "{SGD: {lr: [0.1, {effective: [0.1, 1]}], momentum: 0.9, dampening: [0, 0.5]}}",
        ["optimizer.SGD.dampening"],
    ),
    (
        "{SGD: {lr: {effective: [0.1, 1]}, momentum: {uniform: [0, 1]}}}",
        ["optimizer.SGD.momentum: got a momentum of up to 1.0 beside an effective rate", "below 1"],
    ),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_where_there_is_no_effective_rate_the_file_is_refused(text: str, words: Sequence[str]) -> None:
    (problem,) = problems(f"optimizer: {text}")
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize(
    "text",
    [
        "batch_size: {effective: [1, 2]}",
        "clip_grad_norm: {effective: [1, 2]}",
        "schedule: {OneCycleLR: {max_lr: {effective: [0.1, 1]}}}",
    ],
)
def test_nothing_but_an_optimizers_lr_has_an_effective_rate(text: str) -> None:
    (problem,) = problems("optimizer: {SGD: {lr: 0.1}}\n" + text)
    assert "effective" in problem


def test_the_catalogue_knows_whose_momentum_sums_steps() -> None:
    """A constant gradient ends in steps of lr / (1 - momentum), or in steps of lr, whatever the formula."""

    def last_step(name: str, **arguments: Any) -> float:
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = getattr(torch.optim, name)([parameter], lr=1e-6, **arguments)
        for _ in range(400):
            before = parameter.item()
            parameter.grad = torch.ones_like(parameter)
            optimizer.step()
        return abs(parameter.item() - before)

    tried = []
    for name, entry in torch_catalogue().optimizers.items():
        if "momentum" in entry.arguments:
            ratio = last_step(name, momentum=0.9) / last_step(name, momentum=0.0)
        elif "betas" in entry.arguments:
            ratio = last_step(name, betas=(0.9, 0.9)) / last_step(name, betas=(0.0, 0.9))
        else:
            assert not entry.sums_steps
            continue
        tried.append(name)
        assert ratio == pytest.approx(10.0 if entry.sums_steps else 1.0, rel=0.05), name
    assert {"SGD", "RMSprop", "Adam", "AdamW", "NAdam"} <= set(tried)
    nesterov = last_step("SGD", momentum=0.9, nesterov=True) / last_step("SGD", momentum=0.0)
    assert nesterov == pytest.approx(10.0)


def uneven(fractions: Sequence[float]) -> float:
    """The largest distance between the shares of a sample and those of a uniform one (Kolmogorov-Smirnov)."""
    ordered = sorted(fractions)
    count = len(ordered)
    return max(
        max(abs(value - place / count), abs(value - (place + 1) / count))
        for place, value in enumerate(ordered)
    )


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_momentum_is_searched_in_its_distance_to_1_and_the_rate_by_its_effect(sampler: str) -> None:
    settings = []
    for seed in range(20):
        proposals = Proposals(space(BOTH + f"sampler: {sampler}\nstart: []\nseed: {seed}\n"))
        for _ in range(10):  # what samplers that learn draw before they do
            (asked,) = proposals.ask(1)
            settings.append(asked.setting)
            again = proposals.again(asked.index, asked.parameters, asked.attributes).setting
            assert again.to_json() == asked.setting.to_json()
            given, momentum = asked.parameters["SGD.lr"], number(asked.setting, "momentum")
            assert number(asked.setting, "lr") == learning_rate(given, momentum)
    momenta = [number(setting, "momentum") for setting in settings]
    rates = [effective_rate(number(s, "lr"), number(s, "momentum")) for s in settings]
    assert uneven([math.log(1 - momentum) / math.log(0.01) for momentum in momenta]) < 0.12
    assert uneven([math.log(rate / 0.01) / math.log(1000) for rate in rates]) < 0.12
    assert uneven([momentum / 0.99 for momentum in momenta]) > 0.3, "uniform in momentum itself"


def test_a_grid_has_its_points_on_both_axes() -> None:
    proposals = Proposals(space(BOTH + "sampler: grid\n"))
    found = [asked.setting for _ in range(12) for asked in proposals.ask(1)]
    assert proposals.ask(1) == ()
    points = {(round(number(s, "lr") / (1 - number(s, "momentum")), 9), number(s, "momentum")) for s in found}
    assert points == {(rate, momentum) for rate in (0.01, 0.1, 1.0, 10.0) for momentum in (0.0, 0.9, 0.99)}


def test_a_sampler_that_learns_does_so_on_the_effective_rate() -> None:
    """Where the loss is a function of the effective rate, proposals draw near whatever their momentum is."""
    proposals = Proposals(space(BOTH + "start: []\n"))
    distances = []
    for index in range(60):
        (asked,) = proposals.ask(1)
        rate = effective_rate(number(asked.setting, "lr"), number(asked.setting, "momentum"))
        distance = abs(math.log10(rate))
        distances.append(distance)
        proposals.report(index, 1, distance)
        proposals.end(index, "finished")
    assert sum(distances[-20:]) < 0.5 * sum(distances[:20])


def test_every_pair_of_ends_is_rehearsed_with_the_rate_that_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: set[tuple[float, float]] = set()
    own = rehearsal._try

    def listen(variant: Any, space_: SearchSpace) -> Any:
        tried.add((number(variant.setting, "lr"), number(variant.setting, "momentum")))
        return own(variant, space_)

    monkeypatch.setattr(rehearsal, "_try", listen)
    assert rehearse(space(BOTH)) == ()
    rate, momentum = Effective(low=0.01, high=10.0), LogOneMinus(low=0.0, high=0.99)
    assert tried == {
        (learning_rate(effective, end), end)
        for effective in (rate.low, rate.high)
        for end in (momentum.low, momentum.high)
    }
