"""Row passes: how many rows are trained at once, where there are more than that is best for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import TypeVar

from workers.memory import is_out_of_memory, release_cached_memory

MOST_BESIDE_WIDTH = 1.25
"""Times the width: a little wider costs little more, and a pass for a few rows nearly as much as a whole."""

Row = TypeVar("Row")
Result = TypeVar("Result")


def pass_sizes(rows: int, width: int) -> list[int]:
    """Rows of each pass over ``rows``: as few passes of about ``width`` as there may be, and as even."""
    passes = ceil(rows / (MOST_BESIDE_WIDTH * width))
    share, rest = divmod(rows, passes)
    return [share + 1] * rest + [share] * (passes - rest)


class RowPasses:
    """Passes over rows, narrower once more did not fit into memory."""

    def __init__(self, width: int, *, least: int, said: Callable[[str], None]) -> None:
        """About ``width`` rows at once, never fewer than ``least``; ``said`` hears of narrower passes."""
        self.width = max(width, least)
        self._least = least
        self._said = said
        self._most: int | None = None  # rows at once, where more did not fit

    def over(
        self, rows: Sequence[Row], train: Callable[[Sequence[Row]], Result]
    ) -> Iterator[tuple[Sequence[Row], Result]]:
        """The rows of each pass, and what ``train`` made of them.

        What failed for want of memory is done again with fewer rows, so ``train`` must leave rows as they
        were then. Raises what it raises otherwise.
        """
        while rows:
            count = pass_sizes(len(rows), self.width)[0]
            taken = rows[: count if self._most is None else min(count, self._most)]
            try:
                result = train(taken)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(taken) <= self._least:
                    raise
                self.width = self._most = max(self._least, len(taken) // 2)
                self._said(f"{len(taken)} rows do not fit into memory; training {self.width} at a time")
            else:
                rows = rows[len(taken) :]
                yield taken, result
                continue
            release_cached_memory()  # when the error, which holds on to tensors, is gone
