"""Update hooks: what is to happen around each update that an optimizer makes."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim import Optimizer


def watch_updates(optimizer: Optimizer, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have ``before`` and ``after`` called around each of the optimizer's updates.

    A step within a step, as of a class that calls its parent's, is no update of its own; PyTorch calls hooks
    for that too, if the parent has been made anywhere in the process.
    """
    depth = 0

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            before()

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            after()

    optimizer.register_step_pre_hook(begin)
    optimizer.register_step_post_hook(end)
