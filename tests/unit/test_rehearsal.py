"""A rehearsal finds what PyTorch or the task would refuse in the middle of a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.ranges import Choice, Fixed, Integer, Log, Uniform
from search_spaces.space import Metric, OptimizerSpace, ScheduleSpace, SearchSpace
from workers.rehearsal import rehearse
from workers.torch_catalogue import torch_catalogue

GOOD = SearchSpace(
    name="good",
    task="digits-mlp",
    metric=Metric(name="val_loss", goal="minimize"),
    epochs=5,
    trials=1,
    optimizers=(OptimizerSpace(name="SGD", label="SGD", arguments={"lr": Log(low=1e-3, high=1.0)}),),
)


def schedule(name: str, **arguments: object) -> ScheduleSpace:
    entry = torch_catalogue().schedules[name]
    return ScheduleSpace(
        name=name, label=name, arguments=arguments, every=entry.every, suppresses=entry.suppresses
    )


def optimizer(name: str, **arguments: object) -> OptimizerSpace:
    return OptimizerSpace(name=name, label=name, arguments=arguments)


def test_a_good_space_has_nothing_to_say() -> None:
    schedules = (
        schedule("StepLR", step_size=Integer(low=1, high=9)),
        schedule("OneCycleLR", max_lr=Fixed(value=0.1)),
    )
    assert rehearse(replace(GOOD, schedules=schedules)) == ()


@pytest.mark.parametrize(
    ("changes", "label", "argument", "words"),
    [
        (
            {"optimizers": (optimizer("SGD", momentum=Uniform(low=-0.1, high=0.9)),)},
            "SGD",
            "momentum",
            "Invalid",
        ),
        ({"optimizers": (optimizer("Adam", lr=Uniform(low=-1.0, high=0.1)),)}, "Adam", "lr", "Invalid"),
        ({"schedules": (schedule("StepLR", step_size=Integer(low=0, high=3)),)}, "StepLR", None, "zero"),
        (
            {
                "schedules": (
                    schedule("OneCycleLR", max_lr=Fixed(value=0.1), pct_start=Uniform(low=0.1, high=3.0)),
                )
            },
            "OneCycleLR",
            "pct_start",
            "pct_start",
        ),
        (
            {
                "optimizers": (optimizer("Adagrad"),),
                "schedules": (schedule("OneCycleLR", max_lr=Fixed(value=0.1)),),
            },
            "OneCycleLR",
            None,
            "momentum",
        ),
        ({"batch_size": Choice(options=(Fixed(value=32), Fixed(value=2000)))}, "batch_size", None, "1437"),
        ({"execution": "stacked", "optimizers": (optimizer("Rprop"),)}, "execution", None, "solo"),
        (
            {"task": "quadratic", "task_arguments": {"condition": Uniform(low=0.5, high=10.0)}},
            "task_args",
            "condition",
            "at least 1",
        ),
    ],
)
def test_refusals_name_the_place(changes: dict, label: str, argument: str | None, words: str) -> None:
    refusals = rehearse(replace(GOOD, **changes))
    assert [(refusal.label, refusal.argument) for refusal in refusals] == [(label, argument)]
    assert words in refusals[0].reason


def test_what_is_refused_only_in_combination() -> None:
    """Nesterov with dampening is refused, but only where momentum is above 0."""
    arguments = {
        "momentum": Uniform(low=0.0, high=0.9),
        "nesterov": Choice(options=(Fixed(value=False), Fixed(value=True))),
        "dampening": Fixed(value=0.1),
    }
    refusals = rehearse(replace(GOOD, optimizers=(optimizer("SGD", **arguments),)))
    assert [refusal.label for refusal in refusals] == ["SGD"]
    assert "ampening" in refusals[0].reason


@pytest.mark.parametrize(
    "refused",
    [
        optimizer("Adam", betas=Fixed(value=(0.9,))),
        optimizer("SGD", foreach=Fixed(value=True), fused=Fixed(value=True)),
    ],
)
def test_whatever_pytorch_raises_is_a_refusal(refused: OptimizerSpace) -> None:
    assert [refusal.label for refusal in rehearse(replace(GOOD, optimizers=(refused,)))] == [refused.label]


def test_a_rate_that_is_not_finite_is_refused() -> None:
    schedules = (schedule("ExponentialLR", gamma=Fixed(value=1e308)),)
    (refusal,) = rehearse(replace(GOOD, schedules=schedules))
    assert "inf" in refusal.reason


def test_a_missing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (refusal,) = rehearse(replace(GOOD, device="cuda"))
    assert refusal.label == "device"


def test_a_task_says_which_of_two_required_arguments_is_to_blame(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,y\n" + "1.5,2.5\n2.5,0.5\n" * 40)
    arguments = {"path": Fixed(value=str(table)), "target": Fixed(value="z")}
    (refusal,) = rehearse(replace(GOOD, task="table", task_arguments=arguments))
    assert (refusal.label, refusal.argument, refusal.got) == ("task_args", "target", "z")
    assert "has no column 'z'" in refusal.reason
