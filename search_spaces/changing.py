"""Changing: the same search space with other ranges and fewer options, by the names of its dimensions.

And where the dimensions stand in the sweep file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from search_spaces.ranges import Choice, Range, Tuple
from search_spaces.space import ScheduleSpace, SearchSpace, dimensions


def changed_space(
    space: SearchSpace, ranges: Mapping[str, Range], dropped: Mapping[str, Collection[int]]
) -> SearchSpace:
    """The space with ``ranges`` in place of its own, and without the ``dropped`` options, by dimension.

    What is left keeps its labels, also where an earlier one of the same class is dropped.
    """
    change = _Change(ranges, dropped)
    optimizers = tuple(
        replace(
            optimizer,
            arguments={
                name: change.of(range_, f"{optimizer.label}.{name}")
                for name, range_ in optimizer.arguments.items()
            },
        )
        for index, optimizer in enumerate(space.optimizers)
        if index not in dropped.get("optimizer", ())
    )
    schedules = tuple(
        change.of_schedule(schedule, schedule.label)
        for index, schedule in enumerate(space.schedules)
        if index not in dropped.get("schedule", ())
    )
    return replace(
        space,
        optimizers=optimizers,
        schedules=schedules,
        batch_size=change.of(space.batch_size, "batch_size"),
        clip_grad_norm=change.of(space.clip_grad_norm, "clip_grad_norm"),
        task_arguments={
            name: change.of(range_, f"task.{name}") for name, range_ in space.task_arguments.items()
        },
    )


class _Change:
    """Walks over ranges by the names that ``search_spaces.space.dimensions`` gives them."""

    def __init__(self, ranges: Mapping[str, Range], dropped: Mapping[str, Collection[int]]) -> None:
        self._ranges = ranges
        self._dropped = dropped

    def of(self, range_: Range, name: str) -> Range:
        if name in self._ranges:
            return self._ranges[name]
        if isinstance(range_, Choice):
            options = tuple(
                self.of(option, f"{name}[{index}]")
                for index, option in enumerate(range_.options)
                if index not in self._dropped.get(name, ())
            )
            return options[0] if len(options) == 1 else Choice(options=options)
        if isinstance(range_, Tuple):
            return Tuple(
                items=tuple(self.of(item, f"{name}.{index}") for index, item in enumerate(range_.items))
            )
        return range_

    def of_schedule(self, space: ScheduleSpace, label: str) -> ScheduleSpace:
        arguments = {
            name: tuple(
                self.of_schedule(part, f"{label}.{index}.{part.name}") for index, part in enumerate(value)
            )
            if isinstance(value, tuple)
            else self.of(value, f"{label}.{name}")
            for name, value in space.arguments.items()
        }
        return replace(space, arguments=arguments)


def fields_of(space: SearchSpace) -> dict[str, str]:
    """The field of the sweep file for each dimension, what others hang on first."""
    places = {"optimizer": "optimizer", "schedule": "schedule", "batch_size": "batch_size"}
    places["clip_grad_norm"] = "clip_grad_norm"
    places |= {f"task.{name}": f"task_args.{name}" for name in space.task_arguments}
    for optimizer in space.optimizers:
        own = (f"{optimizer.label}.{name}" for name in optimizer.arguments)
        places |= {name: f"optimizer.{name}" for name in own}
    section = "branches" if space.branches else "schedule"
    for schedule in space.schedules:
        places |= {name: f"{section}.{name}" for name in _arguments_of(schedule)}
    found: dict[str, str] = {}
    for place, field in places.items():
        for name in dimensions(space):
            if name == place or name.startswith((f"{place}[", f"{place}.")):
                found.setdefault(name, field)
    return found


def _arguments_of(space: ScheduleSpace) -> Iterator[str]:
    for name, value in space.arguments.items():
        if isinstance(value, tuple):
            for part in value:
                yield from _arguments_of(part)
        else:
            yield f"{space.label}.{name}"
