"""Range test words: what a range test found and what it narrowed, in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def range_test_words(plan: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Sentences about the range test of a sweep's plan; none where there was none."""
    place = (plan or {}).get("range_test")
    if not place:
        return ()
    tests = place["tests"]
    told = [_found(test, is_alone=len(tests) == 1) for test in tests]
    told += [
        f"{axis_name(name, place)} is searched from {low:g} to {high:g} "
        f"instead of {place['file'][name][0]:g} to {place['file'][name][1]:g}"
        for name, (low, high) in place["searched"].items()
    ]
    return (*told, *place["left"])


def axis_name(name: str, place: Mapping[str, Any]) -> str:
    """``lr`` where there is no other, else with the optimizer that it belongs to."""
    label, _, argument = name.rpartition(".")
    tests = place["tests"]
    short = argument if len(tests) == 1 and label == tests[0]["optimizer"] else name
    return f"{short} / (1 - momentum)" if name in place["effective"] else short


def momentum_words(finding: Mapping[str, Any]) -> str:
    """``momentum 0.9``; empty for an optimizer without."""
    return "" if finding["momentum"] is None else f"momentum {finding['momentum']:g}"


def _found(test: Mapping[str, Any], *, is_alone: bool) -> str:
    falls = [_at(f"{one['steepest']:.2g}", one) for one in test["findings"] if one["steepest"] is not None]
    never = [_at("nowhere", one) for one in test["findings"] if one["steepest"] is None]
    breaks = [_at(f"{one['edge']:.2g}", one) for one in test["findings"] if one["edge"] is not None]
    holds = [
        _at(f"up to {test['high']:g}", one)
        for one in test["findings"]
        if one["edge"] is None and one["steepest"] is not None
    ]
    said = [f"the loss falls fastest at lr {', '.join([*falls, *never])}"]
    said += [f"learns nothing or diverges from {', '.join(breaks)}"] if breaks else []
    said += [f"trains {', '.join(holds)}"] if holds else []
    whose = "" if is_alone else f" of {test['optimizer']}"
    before = " (as found before)" if test["remembered"] else ""
    return f"range test{whose}{before}: {'; '.join(said)}"


def _at(said: str, finding: Mapping[str, Any]) -> str:
    words = momentum_words(finding)
    return f"{said} ({words})" if words else said
