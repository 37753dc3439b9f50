"""PyTorch's defaults as start points: what most people try first is tried first, where a sampler learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.ranges import Fixed, Value, is_fixed
from search_spaces.samplers import learns
from search_spaces.space import SearchSpace
from search_spaces.start_values import compatible, is_effective, placed, proposals_of
from search_spaces.starts import StartPoint

LARGEST_SHARE = 5  # of this many proposals at most one is a start point before a default is added

_DEFAULTS: tuple[tuple[float, float | None, str], ...] = (
    (1e-3, None, "PyTorch's own default"),  # of SGD, Adam, AdamW and most others
    (0.1, 0.9, "the usual first try of SGD"),
)


def default_starts(space: SearchSpace, own: Sequence[StartPoint]) -> tuple[StartPoint, ...]:
    """Points to be proposed after the file's ``own``, as long as all are at most a fifth of the proposals.

    None of a design (random, qmc, grid), and none where lr is fixed, absent or always set by the schedule.
    """
    if not learns(space.sampler) or not space.optimizers or not space.schedules:
        return ()
    kept = compatible(space.schedules, {"lr": None})
    if not kept:
        return ()
    found: list[StartPoint] = []
    for lr, momentum, origin in _DEFAULTS:
        placings = _placings(space, lr, momentum)
        room = (len(own) + len(found) + 1) * LARGEST_SHARE <= proposals_of(space)
        if not placings or not room or any(_covers(point, placings) for point in own):
            continue
        values = {name: value for placing in placings.values() for name, value in placing.items()}
        among = {}
        for name, positions, count in (
            ("optimizer", tuple(placings), len(space.optimizers)),
            ("schedule", kept, 0 if space.branches else len(space.schedules)),
        ):
            if len(positions) == 1 < count:
                values[name] = positions[0]
            elif len(positions) < count:
                among[name] = positions
        told = _told(lr, momentum, values, space)
        found.append(StartPoint(values=values, told=told, origin=origin, is_default=True, among=among))
    return tuple(found)


def _placings(space: SearchSpace, lr: float, momentum: float | None) -> dict[int, dict[str, Value]]:
    """Where the numbers stand, by the optimizer's position: those with that momentum, if there are any.

    An effective rate needs a momentum: PyTorch's default, if the point has none.
    """
    with_lr: dict[int, dict[str, Value]] = {}
    with_both: dict[int, dict[str, Value]] = {}
    for position, optimizer in enumerate(space.optimizers):
        range_ = optimizer.arguments.get("lr")
        if range_ is None or is_fixed(range_):
            continue
        moves = optimizer.arguments.get("momentum", Fixed(value=optimizer.default_momentum))
        wanted = optimizer.default_momentum if momentum is None and is_effective(range_) else momentum
        its_momentum = None if wanted is None else placed(moves, f"{optimizer.label}.momentum", wanted)
        known = moves.value if isinstance(moves, Fixed) else None if its_momentum is None else wanted
        its_lr = placed(range_, f"{optimizer.label}.lr", lr, None if known is None else float(str(known)))
        if its_lr is None:
            continue
        with_lr[position] = its_lr | (its_momentum or {})
        if its_momentum is not None and "momentum" in optimizer.arguments:
            with_both[position] = with_lr[position]
    return with_both if with_both and momentum is not None else with_lr


def _told(lr: float, momentum: float | None, values: Mapping[str, Value], space: SearchSpace) -> str:
    """The point as a file would write it."""
    moved = any(f"{optimizer.label}.momentum" in values for optimizer in space.optimizers)
    return f"{{lr: {lr}, momentum: {momentum or 0.0}}}" if moved else f"{{lr: {lr}}}"


def _covers(point: StartPoint, placings: Mapping[int, Mapping[str, Value]]) -> bool:
    """Whether one of the file's points has these numbers already."""
    return any(placing.items() <= point.values.items() for placing in placings.values())
