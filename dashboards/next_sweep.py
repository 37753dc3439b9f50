"""The next sweep: what a stored sweep's trials say of its search space, and the space after that. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.ended_settings import Told, dimension_of, ended_settings
from dashboards.narrowing import EDGE, Decision, Drop, Ended, Fix, Part, decide
from dashboards.natural_limits import at_bounds, limit_of
from dashboards.relevance import FEWEST_TRIALS, Relevance, relevances
from search_spaces.axes import part_of, widened
from search_spaces.catalogue import Catalogue
from search_spaces.changing import changed_space, fields_of
from search_spaces.ranges import Choice, Fixed, Numeric, Range, Tuple, Value
from search_spaces.space import SearchSpace, dimensions
from search_spaces.value_text import range_text, value_text
from sweeps.records import Proposal, TrialRow

LEARNING_RATES = ("lr", "max_lr", "base_lr")  # never fixed: everything else hangs on them


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one dimension of the space."""

    name: str  # of the dimension
    field: str  # of the sweep file, dotted, as in LoadedSpace.lines
    before: str
    after: str  # the same where nothing changes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSweep:
    """The space of the next sweep, and why."""

    space: SearchSpace
    changes: tuple[Change, ...]
    ended: int  # settings that came to a result or diverged
    finished: int
    inside: int  # of the finished ones, those that the new space could have proposed


def next_sweep(
    space: SearchSpace,
    trials: Sequence[TrialRow],
    proposals: Sequence[Proposal],
    catalogue: Catalogue,
    *,
    keep: frozenset[str] = frozenset(),
) -> NextSweep:
    """The space after the sweep's trials; dimensions in ``keep`` stay as they are.

    Each dimension is judged among the settings that have it.
    """
    settings = ended_settings(space, trials, proposals)
    axes = {
        name: range_ for name, range_ in dimensions(space).items() if name != "schedule" or not space.branches
    }
    ended = Ended(
        results=tuple(result for _, result in settings),
        dimensions={name: dimension_of(name, range_, settings) for name, range_ in axes.items()},
    )
    found = relevances(tuple(ended.dimensions.values()), ended.results)
    walk = _Walk(space, settings, axes, ended, found, catalogue)
    for name, field in fields_of(space).items():
        if name in axes and name not in keep and not walk.is_gone(name):
            walk.visit(name, field)
    return NextSweep(
        space=changed_space(space, walk.ranges, walk.dropped),
        changes=tuple(walk.changes),
        ended=len(settings),
        finished=sum(math.isfinite(result) for _, result in settings),
        inside=sum(math.isfinite(result) and walk.holds(told) for told, result in settings),
    )


class _Walk:
    """Goes through the dimensions once and notes what becomes of each."""

    def __init__(
        self,
        space: SearchSpace,
        settings: Sequence[tuple[Told, float]],
        axes: Mapping[str, Numeric | Choice],
        ended: Ended,
        relevance: Mapping[str, Relevance],
        catalogue: Catalogue,
    ) -> None:
        self._space = space
        self._settings = settings
        self._axes = axes
        self._ended = ended
        self._relevance = relevance
        self._catalogue = catalogue
        self.ranges: dict[str, Range] = {}
        self.dropped: dict[str, frozenset[int]] = {}
        self.changes: list[Change] = []
        self._gone: list[str] = []  # labels and options that are dropped
        self._fixed: set[str] = set()  # because they do not matter

    def is_gone(self, name: str) -> bool:
        """Whether the dimension hangs on something that is dropped."""
        return any(name.startswith((f"{gone}.", f"{gone}[")) or name == gone for gone in self._gone)

    def holds(self, told: Told) -> bool:
        """Whether the new space could have proposed what was chosen, what is fixed now apart."""
        for name, value in told.items():
            range_ = self.ranges.get(name)
            if name not in self._fixed and value in self.dropped.get(name, ()):
                return False
            if range_ is not None and not isinstance(range_, Fixed | Choice | Tuple):
                number = float(str(value))
                if not range_.low <= number <= range_.high:
                    return False
        return True

    def visit(self, name: str, field: str) -> None:
        """Decide on one dimension."""
        axis = self._axes[name]
        argument = field.rpartition(".")[2]
        decision = decide(
            name,
            self._ended,
            self._relevance.get(name),
            at_bounds=at_bounds(axis) if not isinstance(axis, Choice) else (EDGE, EDGE),
            may_fix=name not in ("optimizer", "schedule") and argument not in LEARNING_RATES,
            beside=self._best_of_each_class(name),
        )
        self.changes.append(self._carry_out(name, field, axis, decision))

    def _carry_out(self, name: str, field: str, axis: Numeric | Choice, decision: Decision) -> Change:
        before, reason = self._shown(name, axis), decision.reason
        after = before
        if isinstance(decision, Drop) and isinstance(axis, Choice):
            self.dropped[name] = decision.options
            left = [index for index in range(len(axis.options)) if index not in decision.options]
            after = self._options(name, axis, left)
            self._forget(name, decision.options)
        elif isinstance(decision, Fix):
            self._fixed.add(name)
            value, why = self._fixed_to(name, axis)
            reason = f"{reason}; {why}"
            if isinstance(axis, Choice):
                left = [int(str(value))]
                self.dropped[name] = frozenset(range(len(axis.options))) - set(left)
                after = self._options(name, axis, left)
                self._forget(name, self.dropped[name])
            else:
                self.ranges[name] = Fixed(value=value)
                after = value_text(value)
        elif isinstance(decision, Part) and not isinstance(axis, Choice):
            found, beyond = self._part(name, field, axis, decision)
            reason = f"{reason}{beyond}"
            self.ranges[name] = found
            after = range_text(found)
        return Change(name=name, field=field, before=before, after=after, reason=reason)

    def _forget(self, name: str, options: frozenset[int]) -> None:
        labels = self._labels(name)
        self._gone += [f"{name}[{index}]" if labels is None else labels[index] for index in sorted(options)]

    def _labels(self, name: str) -> tuple[str, ...] | None:
        """Of the classes that a dimension chooses among; None where it chooses something else."""
        if name == "optimizer":
            return tuple(optimizer.label for optimizer in self._space.optimizers)
        return tuple(one.label for one in self._space.schedules) if name == "schedule" else None

    def _shown(self, name: str, axis: Numeric | Choice) -> str:
        if isinstance(axis, Choice):
            return self._options(name, axis, range(len(axis.options)))
        return range_text(axis)

    def _options(self, name: str, axis: Choice, which: Sequence[int]) -> str:
        labels = self._labels(name)
        if labels is not None:
            return ", ".join(labels[index] for index in which)
        texts = [range_text(axis.options[index]) for index in which]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

    def _fixed_to(self, name: str, axis: Numeric | Choice) -> tuple[Value, str]:
        """PyTorch's default where it is within what was tried, else what the best setting has."""
        default = self._default(name)
        if isinstance(axis, Choice):
            for index, option in enumerate(axis.options):
                if default is not None and option == default:
                    return index, "fixed to PyTorch's default"
        elif (
            default is not None
            and isinstance(default.value, int | float)
            and (axis.low <= default.value <= axis.high)
        ):
            return default.value, "fixed to PyTorch's default"
        having = [(result, index) for index, (told, result) in enumerate(self._settings) if name in told]
        return self._settings[min(having)[1]][0][name], "fixed to what the best setting with it has"

    def _default(self, name: str) -> Fixed | None:
        classes = [(one.label, self._catalogue.optimizers.get(one.name)) for one in self._space.optimizers]
        known = [(one.label, self._catalogue.schedules.get(one.name)) for one in self._space.schedules]
        for label, entry in (*classes, *known):
            argument = name.removeprefix(f"{label}.")
            if entry is not None and argument != name and argument in entry.arguments:
                found = entry.arguments[argument]
                return None if found.required else Fixed(value=found.default)
        return None

    def _part(self, name: str, field: str, axis: Numeric, part: Part) -> tuple[Numeric, str]:
        """The narrower range with its bounds moved out where they should be, and what to say of that."""
        found, said = part_of(axis, part.low, part.high), ""
        for up, wanted in ((False, part.widen_low), (True, part.widen_high)):
            if not wanted:
                continue
            if field == "batch_size" or field.startswith("task_args."):
                said += ", not widened: that may cost memory and time, so it is yours to say"
                continue
            found = widened(axis, found, up=up, limit=limit_of(name, axis, self._space, up=up))
            moved = (found.high if up else found.low) != (axis.high if up else axis.low)
            said += ", widened to see what is beyond" if moved else ", where the range has to end"
        return found, said

    def _best_of_each_class(self, name: str) -> tuple[float, ...]:
        """Where the best setting of each optimizer and schedule that stays is, if enough settings tell."""
        found = []
        for choice in ("optimizer", "schedule"):
            if choice not in self._axes or name == choice:
                continue
            chosen = self._ended.dimensions[choice].positions
            for option in {one for one in chosen if one is not None and one not in self._lost(choice)}:
                having = [
                    (result, position)
                    for one, position, result in zip(
                        chosen, self._ended.dimensions[name].positions, self._ended.results, strict=True
                    )
                    if one == option and position is not None
                ]
                if len(having) >= FEWEST_TRIALS and math.isfinite(min(having)[0]):
                    found.append(min(having)[1])
        return tuple(sorted(found))

    def _lost(self, choice: str) -> frozenset[int]:
        return self.dropped.get(choice, frozenset())
