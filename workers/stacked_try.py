"""A try of stacking: a few updates of a task alone and as a row, and why the two are not the same."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.settings import Setting
from workers.anatomy import CannotStack, tensors_of
from workers.kept_values import first_changed, kept_values
from workers.messages import Admission, Diverged, Measured
from workers.population import MINIMUM_WIDTH, Population
from workers.randomness import initial_model
from workers.recipe import Recipe
from workers.solo import SoloTrial

EPOCHS = 2
_LEARNING_RATES = (1e-3, 1e-6, 1e-9)
_DIVERGING = {"lr": 1e30, "weight_decay": 1e30}  # weights are not finite from the first update on
_TELLING = 100  # times that rate: a gradient's last bits show in the weights
_COMPANIES = (0, 4, 6)  # trials beside one, in slots before its own
_TOLERANCE = {"bf16": 0.1}  # largest relative difference of two metrics; 1e-3 in full precision
_SHARE_OF_WAY = 0.01  # that a row may be away from where the plain loop comes
_ROUNDING = 1e-6  # of a tensor, in a few updates in float32
_LONGEST_REASON = 200
_DRAWS = "it draws random numbers that are not dropout's, which cannot be a function of the trial alone"


def why_not_rows(recipe: Recipe, batch_size: int) -> str | None:
    """Why trials of ``recipe``, of more than :data:`EPOCHS` epochs, are not rows; None where they are.

    Raises what the task raises where even the plain loop fails.
    """
    with _one_thread():
        alone = _alone(recipe, batch_size)
        if alone.kept is not None:
            return f"it changes its '{alone.kept}' as it trains, which would be of all rows together"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about operations that are batched one by one
            return _why_not_like(alone, recipe, batch_size) or _why_not_by_itself(
                recipe, batch_size, _TELLING * alone.lr
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alone:
    """What the plain loop shows of two trials."""

    lr: float
    trial: SoloTrial
    outcomes: tuple[Measured | Diverged, ...]  # the subject's, of each epoch, and the first of the late one's
    ended: Mapping[str, Tensor]  # the subject's parameters and buffers after its last epoch
    kept: str | None  # the name of a value that changed beside them


def _alone(recipe: Recipe, batch_size: int) -> _Alone:
    """At the largest of a few learning rates with which everything stays finite."""
    for lr in _LEARNING_RATES:
        trial, later = (SoloTrial(recipe, _admission(number, batch_size, lr=lr)) for number in range(2))
        outcomes: list[Measured | Diverged] = [trial.advance()]
        kept = kept_values(trial.model, trial.task)
        outcomes += [trial.advance(), later.advance()]
        if all(isinstance(outcome, Measured) for outcome in outcomes):
            break
    return _Alone(
        lr=lr,
        trial=trial,
        outcomes=tuple(outcomes),
        ended=dict(tensors_of(trial.model)),
        kept=first_changed(kept, kept_values(trial.model, trial.task)),
    )


def _admission(number: int, batch_size: int, **arguments: float) -> Admission:
    setting = Setting(optimizer="SGD", arguments=arguments, batch_size=batch_size)
    return Admission(number=number, seed=number % 3, setting=setting)


def _why_not_like(alone: _Alone, recipe: Recipe, batch_size: int) -> str | None:
    """Why a row does not train as the same trial does alone."""
    drawn = random.getstate(), np.random.get_state()
    others = [_admission(number, batch_size, lr=alone.lr) for number in range(1, MINIMUM_WIDTH + 1)]
    try:
        population = _population(recipe, _admission(0, batch_size, lr=alone.lr))
        outcomes = population.advance([0])
        for other in others:  # one row more than there were, and the model has been used before
            population.admit(other, slot=other.number)
        outcomes += population.advance(range(MINIMUM_WIDTH + 1))
        rows = population.weights(0) if population.holds(0) else {}
    except Exception as error:  # noqa: BLE001 - a task's own code under vmap: whatever it raises is the reason
        return _reason(error)
    if not _same_state(drawn, (random.getstate(), np.random.get_state())):
        return _DRAWS
    return _apart(alone, [outcome for outcome in outcomes if outcome.number < 2], rows, recipe.precision)


def _why_not_by_itself(recipe: Recipe, batch_size: int, lr: float) -> str | None:
    """Why a row's bits are not its own: trained alone, and as the last of others, of which one diverges."""
    diverging = _admission(1, batch_size, **_DIVERGING)
    others = [_admission(number, batch_size, lr=lr) for number in range(2, max(_COMPANIES) + 1)]
    subject = _admission(0, batch_size, lr=lr)
    try:
        found = [_last_row(recipe, subject, [diverging, *others][:company]) for company in _COMPANIES]
    except Exception as error:  # noqa: BLE001 - as above
        return f"a trial that diverges would end those beside it: {_first_sentence(error)}"
    (outcomes, bits), *rest = found
    if any(repr(shown) != repr(outcomes) or not _equal_bits(row, bits) for shown, row in rest):
        return "its last bits depend on the trials beside it"
    return None


def _last_row(
    recipe: Recipe, subject: Admission, company: Sequence[Admission]
) -> tuple[list[Measured | Diverged], dict[str, Tensor]]:
    """The subject's outcomes and its weights at the end, trained behind the others."""
    population = _population(recipe, *company, subject)
    numbers = [trial.number for trial in (*company, subject)]
    outcomes = [outcome for _ in range(EPOCHS) for outcome in population.advance(numbers)]
    mine = [outcome for outcome in outcomes if outcome.number == subject.number]
    return mine, population.weights(subject.number) if population.holds(subject.number) else {}


def _population(recipe: Recipe, *trials: Admission) -> Population:
    batch_size = trials[0].setting.batch_size
    population = Population(recipe, optimizer="SGD", batch_size=batch_size, width=max(_COMPANIES) + 1)
    for slot, trial in enumerate(trials):
        population.admit(trial, slot)
    return population


def _apart(
    alone: _Alone, outcomes: Sequence[Measured | Diverged], rows: Mapping[str, Tensor], precision: str
) -> str | None:
    """Where rows and the plain loop are further apart than rounding takes them."""
    tolerance = _TOLERANCE.get(precision, 1e-3)
    for one, row in zip(alone.outcomes, outcomes, strict=True):
        if not isinstance(one, Measured) or not isinstance(row, Measured):
            return None  # what is not finite compares with nothing
        if one.metrics.keys() != row.metrics.keys():
            return f"stacked, its metrics are {', '.join(row.metrics)}, alone {', '.join(one.metrics)}"
        shown = {name: (value, row.metrics[name]) for name, value in one.metrics.items()}
        for name, (a, b) in {"train_loss": (one.train_loss, row.train_loss), **shown}.items():
            if not math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6) and not (a != a and b != b):
                return f"stacked, its {name} is {b:.6g} after {row.step} updates, alone {a:.6g}"
    return None if precision == "bf16" else _moved_apart(alone, rows)


def _moved_apart(alone: _Alone, rows: Mapping[str, Tensor]) -> str | None:
    """The parameter or buffer that has not come to where it comes alone, measured by the way it went."""
    begun = dict(tensors_of(initial_model(alone.trial.task, 0)))
    ways = {name: _distance(end, begun[name]) for name, end in alone.ended.items()}
    longest = math.hypot(*(ways[name] for name, _ in alone.trial.model.named_parameters()))
    for name, end in alone.ended.items():
        found, way = rows.get(name, begun[name]), ways[name]
        rounding = _ROUNDING * float(end.double().norm())
        if not _distance(found, end) <= _SHARE_OF_WAY * (way + _SHARE_OF_WAY * longest) + rounding:
            return f"stacked, its {name} moves otherwise than alone"
    return None


def _equal_bits(rows: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(row.nan_to_num(), others[name].nan_to_num()) for name, row in rows.items())


def _same_state(before: Any, after: Any) -> bool:
    """Of ``random`` and of NumPy's global numbers."""
    return before[0] == after[0] and all(
        np.array_equal(one, other) for one, other in zip(before[1], after[1], strict=True)
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch's work in one thread, as populations on a processor are trained."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm())


def _reason(error: Exception) -> str:
    """What stands in the way, in words of the model where PyTorch's own are about its machinery."""
    said = " ".join(str(error).split())
    if isinstance(error, CannotStack):
        return said
    if "randomness" in said:
        return _DRAWS
    if "data-dependent control flow" in said or ".item()" in said:
        return "it looks at the values of tensors (.item(), if, float(...)), which differ from row to row"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "it does not fit the device's memory four times"
    return f"PyTorch cannot batch it over trials: {_first_sentence(error)}"


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:_LONGEST_REASON] or type(error).__name__
