"""Update terms: what update rules are made of, the protocol they follow and the terms that they share.

A rule turns settings into columns of coefficients once an epoch (numpy, float64, as torch.optim's own
Python scalars are) and applies them to ``(rows, parameters)`` buffers with a few tensor operations an
update. Rows never meet: every operation is elementwise, or along a row.

A row's bits do not depend on which other rows are there. A part of a formula that no row needs is left
out; where some rows need it, the others' operand is :func:`kept` out by bits, because a product with zero
would make NaN of an infinity, and what is added to them is then 0.0 * -1, because -0.0 is the number that
every number, -0.0 too, stays the same with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Columns = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]
EpochColumns = dict[str, Columns | Truths]
"""Columns by name before they become tensors: (updates, rows), or (rows,) where every update has the same."""

_TAKEN_APART = 64  # updates at once: a view of each column of each is an object

_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNumbers:
    """What an update rule needs to know of one row for one epoch."""

    arguments: Mapping[str, Any]  # the optimizer's, from the setting
    lr: Columns  # (updates,)
    momentum: Columns | None  # (updates,); betas[0] in the Adam family; None for optimizers without one
    updates_before: int  # updates the row has made before this epoch
    memory: Mapping[str, float]  # what the rule carries from epoch to epoch; empty at a trial's start


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """Columns by name, (updates, rows, 1), and which parts of the formula any row needs."""

    columns: Mapping[str, Tensor]
    parts: frozenset[str]
    memories: tuple[Mapping[str, float], ...]  # one a row: its memory after this epoch

    def at(self, update: int) -> dict[str, Tensor]:
        """Columns of one update: (rows, 1) each."""
        return {name: column[update] for name, column in self.columns.items()}

    def by_update(self) -> Iterator[dict[str, Tensor]]:
        """As :meth:`at`, of one update after the other."""
        names = tuple(self.columns)
        parts = zip(*(torch.split(column, _TAKEN_APART) for column in self.columns.values()), strict=True)
        for part in parts:
            for found in zip(*(column.unbind(0) for column in part), strict=True):
                yield dict(zip(names, found, strict=True))


class UpdateRule(Protocol):
    """One formula over rows. Keeps nothing itself: what lasts is in its buffers and the rows' memories."""

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the (rows, parameters) buffers it keeps."""
        ...

    def initial(self, name: str, arguments: Mapping[str, Any]) -> float:
        """What every element of the buffer ``name`` is at the start of a trial with these arguments."""
        ...

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns for one epoch of these rows, in ``like``'s dtype and device."""
        ...

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """One update in place. ``weights``, ``gradients``, states: (rows, parameters); ``now``: (rows, 1).

        They may be column slices of larger buffers. ``gradients`` is used up.
        """
        ...


class StartsAtZero:
    """What the buffers of most rules do."""

    def initial(self, name: str, arguments: Mapping[str, Any]) -> float:  # noqa: ARG002 - the same for all
        """Zero."""
        return 0.0


def learning_rates(rows: Sequence[RowNumbers]) -> Columns:
    """(updates, rows)."""
    return np.stack([row.lr for row in rows], axis=1)


def momenta(rows: Sequence[RowNumbers]) -> Columns:
    """(updates, rows), of rows that all have one."""
    return np.stack([row.momentum for row in rows if row.momentum is not None], axis=1)


def update_numbers(rows: Sequence[RowNumbers], updates: int) -> Columns:
    """torch.optim's ``step``: how many updates a row has made with this one, (updates, rows)."""
    before = np.array([row.updates_before for row in rows], dtype=np.float64)
    return np.arange(1.0, updates + 1.0)[:, None] + before


def arguments_of(rows: Sequence[RowNumbers], name: str, default: float) -> Columns:
    """A number among the arguments of every row, (rows,)."""
    return np.array([float(row.arguments.get(name, default)) for row in rows])


def switches_of(rows: Sequence[RowNumbers], name: str, default: bool = False) -> Truths:
    """A truth value among the arguments of every row, (rows,)."""
    return np.array([bool(row.arguments.get(name, default)) for row in rows])


def kept(values: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``values`` of the rows that ``mask``, (rows, 1), keeps; 0.0 in the others, whatever was there.

    On a processor torch.where over rows is not vectorized and takes five times as long as this.
    """
    bits = mask.dtype
    found = torch.bitwise_and(values.view(bits), mask, out=None if out is None else out.view(bits))
    return found.view(values.dtype)


def sign_and_decay_columns(rows: Sequence[RowNumbers], weight_decay: Columns) -> EpochColumns:
    """Columns for :func:`sign_and_decay`, (rows,); ``weight_decay``: what is added to gradients, (rows,)."""
    decays = weight_decay != 0.0
    return {
        "sign": np.where(switches_of(rows, "maximize"), -1.0, 1.0),
        "decay": np.where(decays, weight_decay, -1.0),
        "decays": decays,
    }


def sign_and_decay_parts(columns: EpochColumns) -> dict[str, bool]:
    """Which parts of :func:`sign_and_decay` any row needs."""
    return {
        "sign": bool((columns["sign"] != 1.0).any()),
        "decay": bool(columns["decays"].any()),
        "undecayed": not columns["decays"].all(),
    }


def sign_and_decay(
    weights: Tensor, gradients: Tensor, now: Mapping[str, Tensor], parts: frozenset[str]
) -> None:
    """What all rules do first: turn the gradient where a row maximizes, add the decay of its weights."""
    if "sign" in parts:
        gradients.mul_(now["sign"])
    if "decay" in parts:
        decaying = kept(weights, now["decays"]) if "undecayed" in parts else weights
        gradients.addcmul_(decaying, now["decay"])


def momentum_columns(momentum: Columns, take: Columns | float, nesterov: Truths) -> EpochColumns:
    """Columns for :func:`moved`, (updates, rows).

    ``take``: the step's weight in the buffer; ``nesterov``, (rows,): whether momentum times the buffer is
    added to the step, rather than the buffer taken for it.
    """
    moving = momentum != 0.0
    return {
        "moving": moving,
        "keep": np.where(moving, momentum, 1.0),
        "take": np.where(moving, take, -1.0),
        "direct": nesterov | ~moving,
        "buffered": np.where(moving, np.where(nesterov, momentum, 1.0), -1.0),
    }


def momentum_parts(columns: EpochColumns) -> dict[str, bool]:
    """Which parts of :func:`moved` any row needs."""
    moving, direct = columns["moving"], columns["direct"]
    return {
        "moving": bool(moving.any()),
        "still": not moving.all(),
        "scaled": bool((columns["take"] != 1.0).any()),
        "nesterov": bool(np.logical_and(moving, direct).any()),
        "buffer_only": not direct.all(),
    }


def moved(steps: Tensor, velocity: Tensor, now: Mapping[str, Tensor], parts: frozenset[str]) -> Tensor:
    """The direction of every row after ``velocity = keep velocity + take steps`` in place.

    Rows without momentum leave their buffer as it is and go along ``steps``, which are used up. The one bit
    that company may change: where a buffer is -0.0, the direction may be 0.0, which leaves every weight as
    it is, or turns one of -0.0 into 0.0.
    """
    if "moving" not in parts:
        return steps
    some_still = "still" in parts
    taken = kept(steps, now["moving"]) if some_still else steps
    velocity.mul_(now["keep"])
    if "scaled" in parts:
        velocity.addcmul_(taken, now["take"])
    else:
        velocity.add_(taken)
    if not some_still and "nesterov" not in parts:
        return velocity
    if "buffer_only" in parts:
        kept(steps, now["direct"], out=steps)
    buffered = kept(velocity, now["moving"], out=taken) if some_still else velocity
    return steps.addcmul_(buffered, now["buffered"])


def written_down(
    columns: EpochColumns,
    parts: Mapping[str, bool],
    like: Tensor,
    memories: tuple[Mapping[str, float], ...],
) -> Coefficients:
    """Columns, (updates, rows) or (rows,) each, in one transfer; the parts that are needed.

    Truth values become masks for :func:`kept`: integers of the dtype's size with all bits set, or none.
    """
    stacked = np.stack(np.broadcast_arrays(*columns.values())).astype(np.float64)
    together = torch.from_numpy(stacked).to(like.device, like.dtype).unsqueeze(-1)
    found = dict(zip(columns, together, strict=True))
    for name, column in columns.items():
        if column.dtype == np.bool_:
            found[name] = found[name].to(_BITS[like.dtype]).neg_()
    return Coefficients(
        columns=found,
        parts=frozenset(name for name, needed in parts.items() if needed),
        memories=memories,
    )
