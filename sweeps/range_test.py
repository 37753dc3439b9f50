"""The learning-rate range test of a sweep: asked once, remembered, and stored in the sweep's plan.

What stands in the plan decides between which rates is searched; a resumed sweep reads its plan only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.catalogue import Catalogue, OptimizerEntry
from search_spaces.range_test import USUAL_MOMENTUM, RangeTest, momenta_between
from search_spaces.ranges import Choice, Numeric, Value, ends
from search_spaces.rate_axes import OptimizerRates, rates_of, room_for_starts, with_bounds
from search_spaces.settings import Setting
from search_spaces.space import ScheduleSpace, SearchSpace
from sweeps.kept_answers import KeptAnswers
from sweeps.narrowed_rates import Narrowed, narrowed_axes, searched
from workers.range_question import RangeQuestion, Stopped
from workers.rate_curves import RateFinding

PLACE = "range_test"  # in an execution plan
FORMAT = 1  # of what is remembered; another number forgets it
_OF_THE_TASK = (Exception, SystemExit)  # what a task's own code may raise, and will in training too
OF_LOOPS = "the task brings its own training loop, whose updates a range test cannot follow"

Plan = dict[str, Any]
Findings = tuple[RateFinding, ...]
Ask = Callable[[RangeQuestion], Findings]
"""Carries out a test where trials will train. Raises Stopped, and what the task raises."""


class RangeMemory(KeptAnswers[dict[str, Any]]):
    """What tests found before, with the rates that they tried."""

    def __init__(self, folder: Path, said: Callable[[str], None]) -> None:
        """``said`` hears about a file that cannot be read or written."""
        super().__init__(folder, said, name="rates", to_json=dict, from_json=_checked)


def range_tested(
    plan: Plan,
    space: SearchSpace,
    *,
    catalogue: Catalogue,
    task_file: Mapping[str, str],
    memory: RangeMemory,
    ask: Ask,
) -> Plan:
    """``plan`` with what a range test finds, now or before; as it is where the space asks for none.

    ``task_file``: digests of a user's own files by path. Raises Stopped.
    """
    if space.range_test is None:
        return plan
    tests, tested = [], []
    every, left = rates_of(space)
    if plan["execution"] == "loop" and every:
        every, left = (), (OF_LOOPS,)
    for rates in every:
        question = question_for(rates, space, plan, catalogue)
        try:
            found, is_remembered = _answer(question, plan, task_file, memory, ask)
        except Stopped:
            raise
        except _OF_THE_TASK as error:
            sentence = f"{rates.optimizer.label}: the task cannot be trained so: {error}"
            left = (*left, " ".join(sentence.split()))
            continue
        tested.append((rates, _findings(found)))
        tests.append({"optimizer": rates.optimizer.label, "remembered": is_remembered, **found})
    narrowed = narrowed_axes(tested)
    return {**plan, PLACE: {"tests": tests, **_axes_told(narrowed, space), "left": [*left, *_kept(narrowed)]}}


def searched_space(space: SearchSpace, plan: Mapping[str, Any] | None) -> SearchSpace:
    """The space between the rates that its sweep's plan says; as it is where that says none."""
    bounds = ((plan or {}).get(PLACE) or {}).get("searched", {})
    return with_bounds(space, {name: (float(low), float(high)) for name, (low, high) in bounds.items()})


def questions_of(space: SearchSpace, plan: Plan, catalogue: Catalogue) -> tuple[RangeQuestion, ...]:
    """What would be asked, were nothing remembered."""
    if space.range_test is None or plan["execution"] == "loop":
        return ()
    return tuple(question_for(rates, space, plan, catalogue) for rates in rates_of(space)[0])


def question_for(
    rates: OptimizerRates, space: SearchSpace, plan: Mapping[str, Any], catalogue: Catalogue
) -> RangeQuestion:
    """The test of one optimizer: at the largest batch, whose edge is the farthest, all else at its middle."""
    asked = space.range_test or RangeTest()
    momenta = _momenta(rates, catalogue.optimizers[rates.optimizer.name], asked)
    default = rates.optimizer.default_momentum
    low, high = rates.tried([default if momentum is None else momentum for momentum in momenta])
    return RangeQuestion(
        task=space.task,
        setting=_base(rates, space),
        low=low,
        high=high,
        momenta=momenta,
        updates=asked.updates,
        seeds=asked.seeds or space.seeds[:1],
        device=plan["device"],
        precision=plan["precision"],
        convolutions=plan.get("convolutions", "grouped"),
        stacked=plan["execution"] == "stacked",
    )


def _base(rates: OptimizerRates, space: SearchSpace) -> Setting:
    """The middle of each range and the first of each choice, without a schedule or warm-up."""
    plain = replace(
        space,
        optimizers=(rates.optimizer,),
        schedules=(ScheduleSpace(name="constant", label="constant"),),
        branches=False,
        warmup_epochs=0,
    )

    def middle(name: str, range_: Numeric | Choice) -> Value:  # noqa: ARG001 - every draw is asked so
        return 0 if isinstance(range_, Choice) else range_.at(0.5)

    largest = max(int(str(size)) for size in ends(space.batch_size))
    return replace(plain.draw(middle), batch_size=largest, bias_lr=None)


def _momenta(rates: OptimizerRates, known: OptimizerEntry, asked: RangeTest) -> tuple[float | None, ...]:
    """What the file's test says, else what its range says; (None,) leaves it to PyTorch."""
    name = next((name for name in ("momentum", "betas") if name in known.arguments), None)
    if name is None:
        return (None,)
    if asked.momenta is not None:
        return asked.momenta
    if rates.momentum_is_set:
        return (USUAL_MOMENTUM,)
    range_ = rates.optimizer.arguments.get(name)
    values = () if range_ is None else ends(range_)
    first = [value[0] if isinstance(value, tuple) and value else value for value in values]
    momenta = [
        float(one) for one in first if isinstance(one, int | float) and not isinstance(one, bool) and one < 1
    ]
    return momenta_between(min(momenta), max(momenta)) if momenta else (None,)


def _answer(
    question: RangeQuestion,
    plan: Mapping[str, Any],
    task_file: Mapping[str, str],
    memory: RangeMemory,
    ask: Ask,
) -> tuple[dict[str, Any], bool]:
    """What is found, as it is kept, and whether it was found before: between rates that are as far apart."""
    key = _key(question, plan, task_file)
    known = memory.recall(key)
    if known is not None and known["low"] <= question.low and question.high <= known["high"]:
        return known, True
    found = {
        "low": question.low,
        "high": question.high,
        "updates": question.updates,
        "seeds": list(question.seeds),
        "batch_size": question.setting.batch_size,
        "findings": [finding.to_json() for finding in ask(question)],
    }
    memory.remember(key, found)
    return found, False


def _key(question: RangeQuestion, plan: Mapping[str, Any], task_file: Mapping[str, str]) -> dict[str, Any]:
    """What a test's findings depend on, beside the rates between which it tried."""
    setting = question.setting.to_json()
    setting.pop("lr", None)
    return {
        "format": FORMAT,
        "task": question.task,
        "task_file": dict(task_file),
        "setting": sorted(setting.items()),
        "momenta": question.momenta,
        "updates": question.updates,
        "seeds": question.seeds,
        "device": question.device,
        "precision": question.precision,
        "stacked": question.stacked,
        "torch": plan["torch"],
        "processor": plan["processor"],
        "products": plan["products"],
    }


def _checked(kept: Any) -> dict[str, Any]:
    """What is remembered, if it is such a thing. Raises KeyError, TypeError or ValueError."""
    _findings(kept)
    names = ("low", "high", "updates", "seeds", "batch_size", "findings")
    return {**{name: kept[name] for name in names}, "low": float(kept["low"]), "high": float(kept["high"])}


def _findings(found: Mapping[str, Any]) -> Findings:
    return tuple(RateFinding.from_json(one) for one in found["findings"])


def _axes_told(narrowed: Sequence[Narrowed], space: SearchSpace) -> dict[str, Any]:
    return {
        "file": {one.axis.name: [one.axis.low, one.axis.high] for one in narrowed},
        "effective": [one.axis.name for one in narrowed if one.axis.effective],
        "searched": {
            name: list(bounds) for name, bounds in room_for_starts(space, searched(narrowed)).items()
        },
    }


def _kept(narrowed: Sequence[Narrowed]) -> list[str]:
    return [f"{one.axis.name} is left as it is: {one.why_not}" for one in narrowed if one.why_not is not None]
