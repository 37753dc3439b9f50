"""Pruner problems: what of a file's pruner, and of a budget that has to pay for its cooldowns, cannot be."""

from __future__ import annotations

from search_spaces.errors import Problem, counted
from search_spaces.files import LoadedSpace
from sweeps.decay_fair import ArgumentRefused
from sweeps.ends import least_epochs
from sweeps.pruning import make_pruner


def pruner_problems(loaded: LoadedSpace) -> list[Problem]:
    """Everything that is wrong with the pruner of a file that is good otherwise."""
    space = loaded.space
    try:
        make_pruner(space.pruner, space.epochs)
    except ArgumentRefused as refused:
        field = f"pruner.decay_fair.{refused.argument}"
        return [Problem(loaded.line_of(field), field, refused.got, refused.wanted)]
    except ValueError as error:
        got = f"{dict(space.pruner.arguments)} is refused: {error}"
        return [Problem(loaded.line_of("pruner"), "pruner", got, "Optuna's own arguments")]
    least, limit = least_epochs(space), space.budget.epochs
    if limit is None or limit >= least:
        return []
    confirming = "" if space.confirm is None else ", and what confirming may take"
    told = f"{counted(space.epochs, 'epoch')} and their cooldowns x {counted(len(space.seeds), 'seed')}"
    wanted = f"at least the {least} of one setting ({told}{confirming})"
    return [Problem(loaded.line_of("budget.epochs"), "budget.epochs", f"got {limit}", wanted)]
