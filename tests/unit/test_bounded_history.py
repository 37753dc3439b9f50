"""What a sampler is shown of a long sweep: the best and the newest always, and nothing that depends on when."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from sweeps.bounded_history import BoundedHistory, rank_of
from sweeps.proposals import Proposals, Told
from tests.unit.sweeps_for_tests import space


def ended(order: list[int], **bounds: int) -> BoundedHistory:
    """Settings whose results are better the farther they are from 50, ended in some order."""
    history = BoundedHistory(**bounds)
    for index in order:
        history.end(index, rank_of((6, -abs(index - 50.5)), finished=True, sign=1.0))
    return history


def test_everything_is_shown_while_it_is_little() -> None:
    assert ended(list(range(30)), best=10, newest=10, rest=10).shown() == list(range(30))


def test_the_best_the_newest_and_some_of_the_rest() -> None:
    shown = ended(list(range(100)), best=4, newest=5, rest=10).shown()
    assert 17 <= len(shown) <= 19  # some of the rest may be among the best
    assert shown == sorted(set(shown))
    assert {0, 1, 2, 99} <= set(shown)  # the best
    assert {94, 95, 96, 97, 98} <= set(shown)  # the newest beside them
    others = [index for index in shown if 2 < index < 94]
    assert max(later - earlier for earlier, later in zip([0, *others], [*others, 94], strict=True)) <= 14


def test_it_does_not_matter_in_which_order_they_ended() -> None:
    order = list(range(200))
    Random(0).shuffle(order)
    bounds = {"best": 10, "newest": 20, "rest": 5}
    assert ended(order, **bounds).shown() == ended(list(range(200)), **bounds).shown()


def test_ranks_are_optunas() -> None:
    ranks = [
        rank_of((6, 0.1), finished=True, sign=1.0),
        rank_of((6, 0.2), finished=True, sign=1.0),
        rank_of((5, 0.7), finished=False, sign=1.0),
        rank_of((5, 0.9), finished=False, sign=1.0),
        rank_of((2, 0.0), finished=False, sign=1.0),
        rank_of(None, finished=False, sign=1.0),
    ]
    assert ranks == sorted(ranks)
    assert rank_of((6, 0.9), finished=True, sign=-1.0) < rank_of((6, 0.8), finished=True, sign=-1.0)


def told(count: int) -> list[Told]:
    some = Proposals(space(sampler="random"))
    found = []
    for index in range(count):
        (asked,) = some.ask(1)
        value = (float(str(asked.setting.arguments["lr"])) - 0.1) ** 2
        end = ("finished", "pruned", "failed", None)[index % 7 if index % 7 < 4 else 0]
        found.append(
            Told(index=index, parameters=asked.parameters, attributes={}, reports={3: value}, end=end)
        )
    return found


def proposed(history: list[Told], bound: BoundedHistory, count: int = 3) -> list[object]:
    proposals = Proposals(space(sampler="tpe"), bound)
    proposals.rebuild(history)
    return [proposals.ask(1)[0].parameters for _ in range(count)]


def test_a_bound_that_is_not_reached_changes_nothing() -> None:
    history = told(60)
    assert proposed(history, BoundedHistory(best=20, newest=20, rest=20)) == proposed(
        history, BoundedHistory(best=1000, newest=0, rest=0)
    )


def test_beyond_the_bound_only_what_is_shown_counts() -> None:
    """Of two histories that differ in settings that are not shown, TPE makes the same proposals."""
    history = told(200)
    bound = {"best": 30, "newest": 40, "rest": 0}
    changed = [
        replace(one, parameters={**one.parameters, "SGD.lr": 0.096})
        if one.end == "pruned" and one.index < 50
        else one
        for one in history
    ]
    assert proposed(changed, BoundedHistory(**bound), 20) == proposed(history, BoundedHistory(**bound), 20)
    everything = {"best": 1000, "newest": 0, "rest": 0}
    assert proposed(changed, BoundedHistory(**everything), 20) != proposed(
        history, BoundedHistory(**everything), 20
    )


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_a_rebuilt_study_shows_the_same(goal: str) -> None:
    some = space(sampler="tpe")
    some = replace(some, metric=replace(some.metric, goal=goal))
    bounds = {"best": 8, "newest": 10, "rest": 4}
    kept = Proposals(some, BoundedHistory(**bounds))
    stored = []
    for index in range(60):
        (asked,) = kept.ask(1)
        value = float(str(asked.setting.arguments["lr"]))
        kept.report(index, 3, value)
        stored.append(
            Told(
                index=index,
                parameters=asked.parameters,
                attributes=kept.attributes(index),
                reports={3: value},
                end="finished" if index % 9 else None,
            )
        )
    for index in reversed(range(60)):  # they end in another order than they were proposed in
        if index % 9:
            kept.end(index, "finished")
    rebuilt = Proposals(some, BoundedHistory(**bounds))
    rebuilt.rebuild(stored)
    for _ in range(3):
        assert rebuilt.ask(1)[0].parameters == kept.ask(1)[0].parameters


def test_a_setting_cannot_finish_without_a_report() -> None:
    proposals = Proposals(space(sampler="tpe"))
    proposals.ask(1)
    with pytest.raises(ValueError, match="reported nothing"):
        proposals.end(0, "finished")
