"""Pruning: Optuna's pruners by our short names; ``decay_fair`` is ours and met in :mod:`sweeps.rungs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import create_study, logging
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from search_spaces.space import Pruner
from sweeps.decay_fair import decay_fair

logging.set_verbosity(logging.ERROR)


def make_pruner(pruner: Pruner, epochs: int) -> BasePruner:
    """Optuna's pruner for a sweep of trials of ``epochs`` epochs.

    One that gives nothing up for ``decay_fair``, which asks no study.

    Raises ValueError with Optuna's own sentence, or ArgumentRefused, where the arguments are refused.
    """
    if pruner.name == "decay_fair":
        decay_fair(pruner.arguments, epochs)
        return NopPruner()
    kinds: Mapping[str, tuple[type[BasePruner], dict[str, Any]]] = {
        "none": (NopPruner, {}),
        "asha": (SuccessiveHalvingPruner, {"min_resource": 1, "reduction_factor": 4}),
        "hyperband": (HyperbandPruner, {"max_resource": epochs}),
        "median": (MedianPruner, {}),
    }
    kind, defaults = kinds[pruner.name]
    try:
        made = kind(**{**defaults, **pruner.arguments})
        _judge_one_trial(made)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{pruner.name}: {error}") from error
    return made


def _judge_one_trial(pruner: BasePruner) -> None:
    """Some arguments are looked at only when a pruner first judges."""
    study = create_study(pruner=pruner)
    trial = study.ask()
    trial.report(1.0, 1)
    trial.should_prune()
