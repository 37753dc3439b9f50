"""Update rules: torch.optim's formulas over rows, each row with its own coefficients.

A rule turns settings into columns of coefficients once an epoch (numpy, float64, as torch.optim's own
Python scalars are) and applies them to flat ``(rows, parameters)`` buffers with a few tensor operations
an update. Rows never meet: every operation is elementwise, or along a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Columns = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNumbers:
    """What an update rule needs to know of one row for one epoch."""

    arguments: Mapping[str, Any]  # the optimizer's, from the setting
    lr: Columns  # (updates,)
    momentum: Columns | None  # (updates,)
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


class UpdateRule(Protocol):
    """One formula over rows."""

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
        """One update in place. ``weights``, ``gradients``, states: (rows, parameters); ``now``: (rows, 1)."""
        ...


class StartsAtZero:
    """What most rules' buffers do."""

    def initial(self, name: str, arguments: Mapping[str, Any]) -> float:  # noqa: ARG002
        """Zero."""
        return 0.0


class SGDRule(StartsAtZero):
    """torch.optim.SGD: momentum, dampening, nesterov, weight decay, maximize.

    With v the momentum buffer, g the gradient plus ``weight_decay * w``: ``v = m v + (1 - dampening) g``
    (the first time ``v = g``), then ``w -= lr * d`` with d = v, or g + m v (nesterov), or g where m = 0.
    As coefficients: ``v = keep v + take g``, ``d = direct g + buffered v``.
    """

    state = ("momentum_buffer",)

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns ``lr, sign, decay, keep, take, direct, buffered``."""
        columns: dict[str, Columns] = {}
        lr = np.stack([row.lr for row in rows], axis=1)
        momentum = np.stack([row.momentum for row in rows if row.momentum is not None], axis=1)
        moving = momentum != 0.0
        before = np.array([row.memory.get("momentum_started", 0.0) for row in rows])
        started = np.cumsum(moving, axis=0) - moving + before > 0
        dampening = _row(rows, "dampening", 0.0)
        nesterov = _row(rows, "nesterov", False) * moving
        columns["lr"] = -lr
        columns["sign"] = np.broadcast_to(1.0 - 2.0 * _row(rows, "maximize", False), lr.shape)
        columns["decay"] = np.broadcast_to(_row(rows, "weight_decay", 0.0), lr.shape)
        columns["keep"] = np.where(moving, momentum, 1.0)
        columns["take"] = np.where(moving, np.where(started, 1.0 - dampening, 1.0), 0.0)
        columns["direct"] = np.where(moving, nesterov, 1.0)
        columns["buffered"] = np.where(moving, np.where(nesterov > 0, momentum, 1.0), 0.0)
        parts = {
            "sign": bool((columns["sign"] != 1.0).any()),
            "decay": bool((columns["decay"] != 0.0).any()),
            "buffer": bool(moving.any()),
            "scaled": bool((columns["take"] != 1.0).any()),
            "mixed": bool((columns["direct"] != 0.0).any()),
        }
        after = (before > 0) | moving.any(axis=0)
        return Coefficients(
            columns=_tensors(columns, like),
            parts=frozenset(name for name, needed in parts.items() if needed),
            memories=tuple({"momentum_started": float(moved)} for moved in after),
        )

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """A part that no row needs is left out: for the others it would add an exact zero."""
        _sign_and_decay(weights, gradients, now, parts)
        direction = gradients
        if "buffer" in parts:
            velocity = state["momentum_buffer"]
            velocity.mul_(now["keep"])
            if "scaled" in parts:
                velocity.addcmul_(gradients, now["take"])
            else:
                velocity.add_(gradients)
            direction = velocity
            if "mixed" in parts:
                direction = gradients.mul_(now["direct"]).addcmul_(velocity, now["buffered"])
        weights.addcmul_(direction, now["lr"])


class AdamRule(StartsAtZero):
    """torch.optim.Adam and AdamW (Kingma and Ba 2014; Loshchilov and Hutter 2017), amsgrad too."""

    state = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(self, *, weight_decay: float, decoupled: bool) -> None:
        """``weight_decay`` is the class's default; ``decoupled``: decay the weights, not the gradient."""
        self._weight_decay = weight_decay
        self._decoupled = decoupled

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of betas, bias corrections (float64 before rounding), decay and step size."""
        columns: dict[str, Columns] = {}
        lr = np.stack([row.lr for row in rows], axis=1)
        beta1 = np.stack([row.momentum for row in rows if row.momentum is not None], axis=1)
        beta2 = np.array([float(row.arguments.get("betas", (0.9, 0.999))[1]) for row in rows])
        updates = np.arange(1, len(lr) + 1)[:, None] + np.array([row.updates_before for row in rows])
        decoupled = np.array(
            [self._decoupled or bool(row.arguments.get("decoupled_weight_decay")) for row in rows]
        )
        decay = _row(rows, "weight_decay", self._weight_decay)
        columns["sign"] = np.broadcast_to(1.0 - 2.0 * _row(rows, "maximize", False), lr.shape)
        columns["decay"] = np.broadcast_to(np.where(decoupled, 0.0, decay), lr.shape)
        columns["shrink"] = np.where(decoupled, 1.0 - lr * decay, 1.0)
        columns["one_minus_beta1"] = 1.0 - beta1
        columns["beta2"] = np.broadcast_to(beta2, lr.shape)
        columns["one_minus_beta2"] = np.broadcast_to(1.0 - beta2, lr.shape)
        columns["root_correction"] = np.sqrt(1.0 - beta2**updates)
        columns["eps"] = np.broadcast_to(_row(rows, "eps", 1e-8), lr.shape)
        columns["step_size"] = -lr / (1.0 - beta1**updates)
        amsgrad = _row(rows, "amsgrad", False)
        columns["amsgrad"] = np.broadcast_to(amsgrad, lr.shape)
        parts = {
            "sign": bool((columns["sign"] != 1.0).any()),
            "decay": bool((columns["decay"] != 0.0).any()),
            "shrink": bool((columns["shrink"] != 1.0).any()),
            "amsgrad": bool(amsgrad.any()),
        }
        return Coefficients(
            columns=_tensors(columns, like),
            parts=frozenset(name for name, needed in parts.items() if needed),
            memories=({},) * len(rows),
        )

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor Adam, operation by operation."""
        _sign_and_decay(weights, gradients, now, parts)
        if "shrink" in parts:
            weights.mul_(now["shrink"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradients, now["one_minus_beta1"])
        square.mul_(now["beta2"]).addcmul_(gradients * now["one_minus_beta2"], gradients)
        if "amsgrad" in parts:
            largest = state["max_exp_avg_sq"]
            torch.maximum(largest, square, out=largest)
            square = torch.where(now["amsgrad"] > 0, largest, square)
        denominator = square.sqrt().div_(now["root_correction"]).add_(now["eps"])
        weights.addcmul_(mean / denominator, now["step_size"])


UPDATE_RULES: Mapping[str, UpdateRule] = {
    "SGD": SGDRule(),
    "Adam": AdamRule(weight_decay=0.0, decoupled=False),
    "AdamW": AdamRule(weight_decay=0.01, decoupled=True),
}
"""Rules by the torch.optim class they follow; what is not here trains solo."""


def _sign_and_decay(
    weights: Tensor, gradients: Tensor, now: Mapping[str, Tensor], parts: frozenset[str]
) -> None:
    """What both families do first: turn the gradient where a row maximizes, add the decay of its weights."""
    if "sign" in parts:
        gradients.mul_(now["sign"])
    if "decay" in parts:
        gradients.addcmul_(weights, now["decay"])


def _row(rows: Sequence[RowNumbers], name: str, default: float) -> Columns:
    return np.array([float(row.arguments.get(name, default)) for row in rows])


def _tensors(columns: Mapping[str, Columns], like: Tensor) -> dict[str, Tensor]:
    """All columns in one transfer: (updates, rows, 1) views by name."""
    together = torch.from_numpy(np.stack(list(columns.values()))).to(like.device, like.dtype)
    return {name: together[index].unsqueeze(-1) for index, name in enumerate(columns)}
