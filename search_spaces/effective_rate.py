"""Effective rates, lr / (1 - momentum): where they may be searched, and what is said where they may not."""

from __future__ import annotations

from search_spaces.catalogue import OptimizerEntry
from search_spaces.errors import Findings
from search_spaces.ranges import Choice, Effective, Range, Value, ends
from search_spaces.space import OptimizerSpace, ScheduleSpace


def why_not_effective(name: str, optimizer: OptimizerEntry) -> str:
    """Why the effective rate of ``optimizer``'s argument ``name`` cannot be searched; empty where it can."""
    kind = optimizer.name
    if name != "lr":
        return "only lr has an effective rate, lr / (1 - momentum)"
    if optimizer.sums_steps:
        return ""
    if "betas" in optimizer.arguments:
        return (
            f"betas[0] of {kind} takes a mean of gradients, not their sum: lr is its effective rate already"
        )
    if "momentum" in optimizer.arguments:
        return f"the momentum of {kind} is not known to be a sum of steps"
    return f"{kind} has no momentum: lr is its effective rate already"


def check_effective_rates(
    optimizers: tuple[OptimizerSpace, ...],
    schedules: tuple[ScheduleSpace, ...],
    findings: Findings,
) -> None:
    """Report effective rates beside a momentum that is damped or may reach 1; note where they have no use."""
    for optimizer in optimizers:
        if not _is_effective(optimizer.arguments.get("lr")):
            continue
        field = f"optimizer.{optimizer.label}"
        damped = optimizer.arguments.get("dampening")
        if damped is not None and any(_numbers(damped)):
            got, wanted = "dampening beside an effective rate", "dampening: 0 where lr is {effective: [a, b]}"
            hint = "lr / (1 - momentum) is what undamped steps come to"
            findings.problem(findings.lines[f"{field}.dampening"], f"{field}.dampening", got, wanted, hint)
        momentum = optimizer.arguments.get("momentum")
        if momentum is not None and max(_numbers(momentum), default=0.0) >= 1.0:
            got = f"got a momentum of up to {max(_numbers(momentum))} beside an effective rate"
            wanted = "a momentum below 1 where lr is {effective: [a, b]}"
            findings.problem(findings.lines[f"{field}.momentum"], f"{field}.momentum", got, wanted)
        themselves = [space.label for space in schedules if _sets_lr(space)]
        if themselves:
            findings.notes.append(
                f"{field}.lr: the effective rate is not searched with {', '.join(themselves)}, "
                f"which {'sets' if len(themselves) == 1 else 'set'} the learning rate itself"
            )


def _is_effective(range_: Range | None) -> bool:
    if isinstance(range_, Choice):
        return any(_is_effective(option) for option in range_.options)
    return isinstance(range_, Effective)


def _sets_lr(schedule: ScheduleSpace) -> bool:
    parts = (part for value in schedule.arguments.values() if isinstance(value, tuple) for part in value)
    return any(rule.setting == "lr" for rule in schedule.suppresses) or any(map(_sets_lr, parts))


def _numbers(range_: Range) -> list[float]:
    values: tuple[Value, ...] = ends(range_)
    return [float(value) for value in values if isinstance(value, int | float)]
