"""A range test's preview: that a sweep begins with one, what it tries and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.live_view import duration
from search_spaces.rate_axes import rates_of
from search_spaces.space import SearchSpace
from sweeps.range_test import OF_LOOPS, questions_of
from workers.range_question import RangeQuestion
from workers.tasks.registry import task_data
from workers.torch_catalogue import catalogue_for


def range_test_preview(
    space: SearchSpace, plan: Mapping[str, Any], seconds_per_epoch: float | None
) -> tuple[str, ...]:
    """Sentences for people; none where the sweep has no range test.

    ``seconds_per_epoch``: of one trial, as measured; None where that was not.
    """
    if space.range_test is None:
        return ()
    if plan["execution"] == "loop":
        return (f"range test: none, {OF_LOOPS}",)
    questions = questions_of(space, dict(plan), catalogue_for(space.task))
    told = [_told(question, seconds_per_epoch) for question in questions]
    return (*told, *(f"range test: {sentence}" for sentence in rates_of(space)[1]))


def _told(question: RangeQuestion, seconds_per_epoch: float | None) -> str:
    momenta = ", ".join(f"{momentum:g}" for momentum in question.momenta if momentum is not None)
    at = f" at momentum {momenta}" if momenta else ""
    data = task_data(question.task, tuple(sorted(question.setting.task_arguments.items())))
    epochs = question.most_updates / data.updates_per_epoch(question.setting.batch_size)
    cost = f"at most {question.most_updates:,} updates of one trial, {epochs:,.0f} epochs"
    if seconds_per_epoch is not None:
        cost += f", about {duration(epochs * seconds_per_epoch)} of one core"
    return (
        f"range test of {question.setting.optimizer} before the sweep: lr rises from {question.low:g} to "
        f"{question.high:g} in {question.updates} updates{at}, and is held from the start where it may "
        f"diverge; {cost}; the first time only"
    )
