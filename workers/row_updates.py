"""Row updates: an update rule applied to the rows' parameter groups, update after update of one epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from workers.update_terms import Coefficients, UpdateRule

_CACHED = 2**20  # numbers of rows that stay in a processor's caches from one operation to the next
_BLOCK = 2**18  # numbers of as many rows as are updated together where all of them would not


class RowUpdates:
    """Steps of ``rule`` on weights and optimizer state, (rows, parameters) each, in place."""

    def __init__(
        self,
        rule: UpdateRule,
        coefficients: Sequence[Coefficients],
        groups: Sequence[slice],
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
    ) -> None:
        """One of ``coefficients`` for each of ``groups``, which are slices of the parameters."""
        self._rule = rule
        self._groups = [(found.parts, found.by_update()) for found in coefficients]
        self._blocks = row_blocks(weights)
        self._tensors = [
            [
                (
                    weights[rows, group],
                    gradients[rows, group],
                    {name: tensor[rows, group] for name, tensor in state.items()},
                )
                for rows in self._blocks
            ]
            for group in groups
        ]

    def step(self) -> None:
        """The next update of the epoch. The gradients are used up."""
        for (parts, columns), blocks in zip(self._groups, self._tensors, strict=True):
            now = next(columns)
            for rows, (weights, gradients, state) in zip(self._blocks, blocks, strict=True):
                own = now if len(blocks) == 1 else {name: column[rows] for name, column in now.items()}
                self._rule.apply(weights, gradients, state, own, parts)


def row_blocks(weights: Tensor) -> list[slice]:
    """Rows that are updated together: what a processor's caches hold, as rules pass over it several times."""
    rows, parameters = weights.shape
    if weights.device.type != "cpu" or rows * parameters <= _CACHED:
        return [slice(None)]
    size = max(1, _BLOCK // parameters)
    return [slice(begin, begin + size) for begin in range(0, rows, size)]
