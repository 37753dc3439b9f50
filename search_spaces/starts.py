"""Start points: settings that are proposed before the sampler has its turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search_spaces.ranges import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPoint:
    """Values that a proposal begins with; the sampler chooses whatever is not among them."""

    values: Mapping[str, Value]  # by the range's name: a number of it, or the index of a choice's option
    told: str = field(default="", compare=False)  # as a sweep file writes it: {lr: 0.1, momentum: 0.9}
    origin: str = field(default="", compare=False)  # for people: where the point comes from
    is_default: bool = False  # whether it is PyTorch's rather than the file's
    among: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Choices that are left open but not wholly: of these options one is drawn at random."""
