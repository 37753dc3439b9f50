"""Kept values: what a model or task keeps on itself from update to update, beside parameters and buffers.

The rows of a population share one model object. A count of updates in its attributes, or whatever else a
forward pass leaves there for the next, would be of all rows together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_OF_ANY_MODULE = frozenset(vars(nn.Module()))  # training, hooks and the like
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST = 3
_MOST_ITEMS = 1000  # of a list or mapping

Kept = Mapping[str, object]


def kept_values(model: nn.Module, task: object) -> Kept:
    """Plain values among the attributes of the model's modules and of the task's object, by name.

    Of a tensor only how often it was written into, and its numbers where they are whole; a tensor that is
    put in the place of another is what models leave behind for people to look at.
    """
    of_the_model = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found: dict[str, object] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _OF_ANY_MODULE:
                found.update(_values(f"{path}.{name}" if path else name, value, of_the_model))
    own = getattr(task, "own", task)  # of a user's task, the user's object
    for name, value in getattr(own, "__dict__", {}).items():
        found.update(_values(name, value, of_the_model))
    return found


def first_changed(before: Kept, after: Kept) -> str | None:
    """The name of a value that is not what it was; None where there is none."""
    return next((name for name in [*before, *after] if _changed(before.get(name), after.get(name))), None)


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    """A tensor, held so that no other takes its place in memory, and how often it was written into."""

    tensor: Tensor
    writes: int


def _changed(before: object, after: object) -> bool:
    if isinstance(before, _Tensor) and isinstance(after, _Tensor):
        return before.tensor is after.tensor and before.writes != after.writes
    return before != after


def _values(
    name: str, value: Any, passed_over: Collection[int], depth: int = _DEEPEST
) -> Iterator[tuple[str, object]]:
    if isinstance(value, _PLAIN):
        yield name, repr(value)
    elif isinstance(value, Tensor):
        if id(value) in passed_over:
            return
        whole = not value.is_floating_point() and not value.is_complex()
        few = whole and value.numel() <= _MOST_ITEMS
        yield name, value.tolist() if few else _Tensor(value, value._version)
    elif depth and isinstance(value, (list, tuple, dict, set, frozenset)):
        yield name, len(value)
        if len(value) <= _MOST_ITEMS:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                yield from _values(f"{name}[{key!r}]", item, passed_over, depth - 1)
