"""Drives update rules directly, and torch.optim's own classes beside them, over drawn rows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.update_rules import UPDATE_RULES, RowNumbers, UpdateRule

EPOCHS = 4
UPDATES = 50
"""Updates an epoch."""

_switches = st.booleans()
_decays = st.one_of(st.just(0.0), st.floats(1e-4, 0.1))
_small = st.sampled_from([1e-12, 1e-8, 1e-3])

ARGUMENTS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "SGD": {
        "dampening": st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
        "weight_decay": _decays,
        "nesterov": _switches,
        "maximize": _switches,
    },
    "Adam": {
        "eps": _small,
        "weight_decay": _decays,
        "amsgrad": _switches,
        "maximize": _switches,
        "decoupled_weight_decay": _switches,
    },
    "AdamW": {"eps": _small, "weight_decay": _decays, "amsgrad": _switches, "maximize": _switches},
    "NAdam": {
        "eps": _small,
        "weight_decay": _decays,
        "momentum_decay": st.floats(0.0, 0.1),
        "decoupled_weight_decay": _switches,
        "maximize": _switches,
    },
    "RMSprop": {
        "alpha": st.floats(0.5, 0.999),
        "eps": _small,
        "weight_decay": _decays,
        "centered": _switches,
        "maximize": _switches,
    },
    "Adagrad": {
        "lr_decay": st.floats(0.0, 0.1),
        "weight_decay": _decays,
        "initial_accumulator_value": st.floats(0.0, 2.0),
        "eps": _small,
        "maximize": _switches,
    },
}
"""What is drawn for each class, besides the path of the learning rate and that of momentum or beta1."""


@dataclass(frozen=True, slots=True)
class Path:
    """What a schedule does to one number: it sets it every epoch, or every update on the way to the next."""

    corners: tuple[float, ...]  # at the start of each epoch and at the end of the last
    every_update: bool

    def over(self, epoch: int, updates: int) -> np.ndarray:
        """The updates of ``epoch``, from 0."""
        start, end = self.corners[epoch : epoch + 2]
        return np.linspace(start, end if self.every_update else start, updates, endpoint=False)


STILL = Path((0.0,) * (EPOCHS + 1), False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRow:
    """One row: the optimizer's arguments and the paths of what a schedule may change."""

    arguments: Mapping[str, Any]
    lr: Path
    momentum: Path | None
    joins_at: int  # epochs that the others have trained before it


def corner_rows(optimizer: str) -> list[DrawnRow]:
    """Rows that together need every part of the rule, in every order of momentum that starts and stops."""
    goes, stops = Path((0.9,) * 5, False), Path((0.3, 0.0, 0.7, 0.7, 0.0), False)
    starts, wanders = Path((0.0, 0.9, 0.0, 0.8, 0.0), False), Path((0.9, 0.5, 0.0, 0.95, 0.9), True)
    adam: list[tuple[dict[str, Any], Path]] = [
        ({}, goes),
        ({"amsgrad": True, "betas": (0.9, 0.7)}, goes),
        ({"amsgrad": True, "weight_decay": 0.03, "eps": 1e-3, "betas": (0.9, 0.95)}, wanders),
        ({"weight_decay": 0.0, "maximize": True}, stops),
    ]
    corners: dict[str, list[tuple[dict[str, Any], Path | None]]] = {
        "SGD": [
            ({"momentum": 0.0}, STILL),
            ({"momentum": 0.9}, goes),
            ({"momentum": 0.3, "dampening": 0.3}, stops),
            ({"momentum": 0.0, "dampening": 0.4, "weight_decay": 0.03}, starts),
            ({"momentum": 0.9, "nesterov": True, "weight_decay": 0.02, "maximize": True}, wanders),
        ],
        "Adam": [*adam, ({"weight_decay": 0.05, "decoupled_weight_decay": True}, goes)],
        "AdamW": [*adam],
        "NAdam": [
            ({}, goes),
            ({"weight_decay": 0.03, "momentum_decay": 0.05, "maximize": True}, wanders),
            ({"weight_decay": 0.05, "decoupled_weight_decay": True, "eps": 1e-3}, stops),
        ],
        "RMSprop": [
            ({"momentum": 0.0}, STILL),
            ({"momentum": 0.9, "alpha": 0.8}, goes),
            ({"momentum": 0.3, "centered": True, "eps": 1e-3}, stops),
            ({"momentum": 0.0, "centered": True, "weight_decay": 0.03, "maximize": True}, STILL),
        ],
        "Adagrad": [
            ({}, None),
            ({"lr_decay": 0.05, "initial_accumulator_value": 0.5}, None),
            ({"weight_decay": 0.03, "eps": 1e-3, "maximize": True}, None),
        ],
    }
    lr = Path((0.05, 0.1, 0.02, 0.03, 0.0), True)
    return [
        DrawnRow(arguments={**arguments, "lr": 0.05}, lr=lr, momentum=momentum, joins_at=index % 2)
        for index, (arguments, momentum) in enumerate(corners[optimizer])
    ]


def parameters_of(optimizer: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(torch.optim, optimizer)).parameters


def _paths(values: st.SearchStrategy[float]) -> st.SearchStrategy[Path]:
    return st.builds(Path, st.tuples(*[values] * (EPOCHS + 1)), st.booleans())


@st.composite
def drawn_rows(draw: st.DrawFn, optimizer: str) -> DrawnRow:
    """Rows that torch.optim itself can train."""
    known = parameters_of(optimizer)
    arguments = draw(st.fixed_dictionaries(dict(ARGUMENTS[optimizer])))
    if draw(st.sampled_from([False, False, False, True])):
        arguments = {}  # PyTorch's defaults
    lr = draw(_paths(st.floats(0.0, 0.5)))
    momentum = None
    if {"momentum", "betas"} & set(known):
        momentum = draw(_paths(st.one_of(st.floats(0.01, 0.99), st.just(0.0))) | st.just(STILL))
        if optimizer == "SGD" and momentum.corners[0] == 0.0:
            arguments.pop("nesterov", None)  # PyTorch refuses it
        if optimizer == "RMSprop" and momentum.corners[0] == 0.0:
            momentum = STILL  # PyTorch has no buffer where momentum starts later
        if "betas" in known:
            arguments["betas"] = (momentum.corners[0], draw(st.floats(0.5, 0.9999)))
        else:
            arguments["momentum"] = momentum.corners[0]
    if arguments.get("nesterov"):
        arguments["dampening"] = 0.0
    arguments["lr"] = lr.corners[0]
    joins_at = draw(st.sampled_from([0, 0, 1, 2]))
    return DrawnRow(arguments=arguments, lr=lr, momentum=momentum, joins_at=joins_at)


class StackedRows:
    """Rows under one rule, an epoch at a time, as a population trains them: ``weights`` and ``state``."""

    def __init__(self, optimizer: str, rows: Sequence[DrawnRow], weights: Tensor) -> None:
        self.weights = weights.clone()
        self._rule: UpdateRule = UPDATE_RULES[optimizer]
        self._rows = rows
        self._memories: list[Mapping[str, float]] = [{} for _ in rows]
        self.state = {
            name: torch.stack(
                [
                    torch.full_like(weight, self._rule.initial(name, row.arguments))
                    for row, weight in zip(rows, weights, strict=True)
                ]
            )
            for name in self._rule.state
        }

    def advance(self, epoch: int, gradients: Tensor, splits: Sequence[int] | None = None) -> None:
        """``gradients``: (updates, rows, parameters); ``splits``: widths of column slices updated apart."""
        here = [index for index, row in enumerate(self._rows) if row.joins_at <= epoch]
        if not here:
            return
        weights = self.weights[here]
        state = {name: buffer[here] for name, buffer in self.state.items()}
        numbers = [self._numbers(index, epoch - self._rows[index].joins_at, len(gradients)) for index in here]
        edges = np.cumsum([0, *(splits or [weights.shape[1]])])
        slices = [slice(start, end) for start, end in pairwise(edges)]
        coefficients = [self._rule.coefficients(numbers, weights[:, part]) for part in slices]
        for update in range(len(gradients)):
            used_up = gradients[update, here].clone()
            for part, found in zip(slices, coefficients, strict=True):
                parts_of_state = {name: buffer[:, part] for name, buffer in state.items()}
                now = found.at(update)
                self._rule.apply(weights[:, part], used_up[:, part], parts_of_state, now, found.parts)
        self.weights[here] = weights
        for name, buffer in self.state.items():
            buffer[here] = state[name]
        for index, memory in zip(here, coefficients[0].memories, strict=True):
            self._memories[index] = memory

    def _numbers(self, index: int, epoch: int, updates: int) -> RowNumbers:
        row = self._rows[index]
        return RowNumbers(
            arguments=row.arguments,
            lr=row.lr.over(epoch, updates),
            momentum=None if row.momentum is None else row.momentum.over(epoch, updates),
            updates_before=epoch * updates,
            memory=self._memories[index],
        )


def plainly_trained(optimizer: str, row: DrawnRow, weights: Tensor, gradients: Tensor) -> Tensor:
    """``weights``, (parameters,), after torch.optim's own steps; ``gradients``: (epochs, updates, ...)."""
    parameter = torch.nn.Parameter(weights.clone())
    real = getattr(torch.optim, optimizer)([parameter], **row.arguments, foreach=False)
    (group,) = real.param_groups
    for epoch in range(row.joins_at, len(gradients)):
        rates = row.lr.over(epoch - row.joins_at, len(gradients[epoch]))
        momenta = None if row.momentum is None else row.momentum.over(epoch - row.joins_at, len(rates))
        for update, gradient in enumerate(gradients[epoch]):
            group["lr"] = float(rates[update])
            if momenta is not None and "betas" in group:
                group["betas"] = (float(momenta[update]), group["betas"][1])
            elif momenta is not None:
                group["momentum"] = float(momenta[update])
            parameter.grad = gradient.clone()
            real.step()
    return parameter.detach()


def stacked_and_plain(optimizer: str, rows: Sequence[DrawnRow], seed: int) -> tuple[Tensor, Tensor]:
    """Final weights of ``rows`` both ways, (rows, parameters) in float64, over random gradients."""
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(rows), 5, generator=random, dtype=torch.float64)
    shape = (EPOCHS, UPDATES, len(rows), 5)
    gradients = torch.randn(shape, generator=random, dtype=torch.float64)
    gradients[torch.rand(shape, generator=random) < 0.1] = 0.0
    stacked = StackedRows(optimizer, rows, weights)
    for epoch in range(EPOCHS):
        stacked.advance(epoch, gradients[epoch])
    plain = [
        plainly_trained(optimizer, row, weights[index], gradients[:, :, index])
        for index, row in enumerate(rows)
    ]
    return stacked.weights, torch.stack(plain)


def largest_relative_error(stacked: Tensor, plain: Tensor) -> float:
    """The largest difference of any row's weights, relative to the largest of its weights."""
    return float(((stacked - plain).abs().amax(dim=1) / plain.abs().amax(dim=1)).max())


def populations(optimizer: str) -> st.SearchStrategy[tuple[DrawnRow, ...]]:
    """Rows drawn apart, some of which join late."""
    return st.tuples(*[drawn_rows(optimizer)] * 3)


def largest_error_seen(optimizer: str, examples: int = 15) -> float:
    """The largest relative error over the corner rows and drawn populations, the same at every call."""
    seen = [largest_relative_error(*stacked_and_plain(optimizer, corner_rows(optimizer), 0))]

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(rows=populations(optimizer), seed=st.integers(0, 2**32 - 1))
    def compare(rows: tuple[DrawnRow, ...], seed: int) -> None:
        seen.append(largest_relative_error(*stacked_and_plain(optimizer, rows, seed)))

    compare()
    return max(seen)
