"""The pruning audit: what the control group says of those that were given up.

Settings of the control group are trained to the end whatever the pruner thinks of them. So of them, and only
of them, both are known: whether the rule would have given them up, and how they end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.records import Proposal, SweepRow, TrialRow, TrialState
from sweeps.rungs import ATTRIBUTE, CONTROL_ATTRIBUTE
from sweeps.verdict import search_trials

GOOD = 0.25
"""A control setting is good if it ends among so many of the best of all that finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSetting:
    """A setting of the control group that was trained to the end."""

    index: int
    number: int  # of its first trial
    schedule: str
    value: float  # mean over its seeds
    stopped_after: int | None  # the epoch at which the rule would have given it up; None: it would not have
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyAudit:
    """The control settings of one schedule class."""

    schedule: str
    trained: int
    stopped: int  # of them, that the rule would have given up
    good: int
    good_stopped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningAudit:
    """What the control group of a sweep shows."""

    control: tuple[ControlSetting, ...]  # that finished, by index
    best_kept: float | None  # of the settings that went on by the rule and finished
    best_stopped: ControlSetting | None  # of the control settings that the rule would have given up
    lost: float  # by how much that one is better than all that were kept; 0 where it is not

    @property
    def families(self) -> tuple[FamilyAudit, ...]:
        """The control settings by schedule class, by name."""
        by_name: dict[str, list[ControlSetting]] = {}
        for one in self.control:
            by_name.setdefault(one.schedule, []).append(one)
        return tuple(
            FamilyAudit(
                schedule=schedule,
                trained=len(members),
                stopped=sum(one.stopped_after is not None for one in members),
                good=sum(one.is_good for one in members),
                good_stopped=sum(one.is_good and one.stopped_after is not None for one in members),
            )
            for schedule, members in sorted(by_name.items())
        )


class Stored(Protocol):
    """What an audit is read from."""

    def proposals(self, sweep_id: int) -> list[Proposal]:
        """A sweep's proposals by index."""

    def trials(self, sweep_id: int) -> list[TrialRow]:
        """A sweep's trials by number."""


def audit_of(store: Stored, sweep: SweepRow) -> PruningAudit | None:
    """The audit of a stored sweep; None where ``decay_fair`` does not prune it."""
    if sweep.spec.get("pruner") != "decay_fair":
        return None
    return audit(sweep.goal, store.proposals(sweep.id), search_trials(sweep, store.trials(sweep.id)))


def audit(goal: str, proposals: Sequence[Proposal], trials: Sequence[TrialRow]) -> PruningAudit:
    """The audit of a sweep pruned by ``decay_fair``, so far; ``trials``: those of its search."""
    sign = 1.0 if goal == "minimize" else -1.0
    finished = _finished(trials)
    losses = sorted(sign * value for value, _ in finished.values())
    good_up_to = losses[max(1, round(GOOD * len(losses))) - 1] if losses else 0.0
    judged = _judged(proposals, trials)
    stopped = {index: _stopped_after(of_setting) for index, of_setting in judged.items()}
    found = tuple(
        ControlSetting(
            index=proposal.index,
            number=first.number,
            schedule=first.schedule,
            value=value,
            stopped_after=stopped[proposal.index],
            is_good=sign * value <= good_up_to,
        )
        for proposal in proposals
        if proposal.attributes.get(CONTROL_ATTRIBUTE) and proposal.index in finished
        for value, first in [finished[proposal.index]]
    )
    kept = [sign * value for index, (value, _) in finished.items() if stopped.get(index) is None]
    given_up = [one for one in found if one.stopped_after is not None]
    best_stopped = min(given_up, key=lambda one: sign * one.value, default=None)
    lost = min(kept) - sign * best_stopped.value if kept and best_stopped is not None else 0.0
    return PruningAudit(
        control=found,
        best_kept=sign * min(kept) if kept else None,
        best_stopped=best_stopped,
        lost=max(0.0, lost),
    )


def _finished(trials: Sequence[TrialRow]) -> dict[int, tuple[float, TrialRow]]:
    """Mean value and first trial of each setting all of whose trials finished, by index."""
    of_setting: dict[int, list[TrialRow]] = {}
    for trial in trials:
        of_setting.setdefault(trial.setting_index, []).append(trial)
    found = {}
    for index, members in of_setting.items():
        values = [trial.value for trial in members if trial.state is TrialState.finished]
        shown = [value for value in values if value is not None]
        if len(shown) == len(members):
            found[index] = (sum(shown) / len(shown), members[0])
    return found


def _judged(proposals: Sequence[Proposal], trials: Sequence[TrialRow]) -> dict[int, Mapping[str, Any]]:
    """What was judged of each setting, by index, then rung; of a copy, what was of the one it is like."""
    own = {proposal.index: proposal.attributes.get(ATTRIBUTE, {}) for proposal in proposals}
    setting_of = {trial.number: trial.setting_index for trial in trials}
    like = {
        trial.setting_index: setting_of[trial.parent_number]
        for trial in trials
        if trial.repeats and trial.parent_number in setting_of
    }
    return {index: of_setting or own[like.get(index, index)] for index, of_setting in own.items()}


def _stopped_after(judged: Mapping[str, Any]) -> int | None:
    """The first rung at which the rule gave a setting up."""
    return min((int(rung) for rung, (*_, goes_on) in judged.items() if not goes_on), default=None)
