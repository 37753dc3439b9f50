"""Proposal queue: settings that were asked for before there is room for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from search_spaces.samplers import learns
from search_spaces.space import SearchSpace
from sweeps.plan import Budget, asked_by_now
from sweeps.proposals import Asked, Proposals
from sweeps.records import Proposal


class ProposalQueue:
    """Asks for settings, ahead where that takes time, and keeps what is not stored or has no trials yet."""

    def __init__(self, space: SearchSpace, budget: Budget, proposals: Proposals) -> None:
        """Nothing asked for yet.

        Only samplers that take their time are asked ahead, in one lane, and not for families, which stay
        whole.
        """
        self._budget = budget
        self._proposals = proposals
        self._asks_ahead = learns(space.sampler) and not space.branches and budget.lanes == 1
        self._ahead: deque[Asked] = deque()
        self._unstored: list[Proposal] = []
        self._admitted = 0  # settings with trials
        self._exhausted = False

    def restore(self, proposals: Sequence[Proposal], with_trials: Collection[int]) -> None:
        """Go on from stored proposals, of which those ``with_trials``, by index, have been taken."""
        self._admitted = len(with_trials)
        self._ahead.extend(
            self._proposals.again(proposal.index, proposal.parameters, proposal.attributes)
            for proposal in proposals
            if proposal.index not in with_trials
        )

    @property
    def has_more(self) -> bool:
        """Whether there are settings still to be taken."""
        return bool(self._ahead) or (not self._exhausted and self._admitted < self._budget.settings)

    @property
    def settings_taken(self) -> int:
        """Settings that have been taken so far."""
        return self._admitted

    @property
    def settings_expected(self) -> int:
        """Settings that will have been taken at the end."""
        return self._admitted + len(self._ahead) if self._exhausted else self._budget.settings

    def ask_ahead(self, free: Sequence[int]) -> None:
        """Ask for settings of which so many will have room in each of the coming rounds.

        They are stored with the next decision, and know all reports before it.
        """
        while len(self._ahead) < asked_by_now(free) and (family := self._asked(1)):
            self._ahead.extend(family)

    @property
    def rounds_ahead(self) -> int:
        """For how many rounds :meth:`ask_ahead` wants to know the room; none where nothing is asked ahead."""
        return self._budget.asked_ahead if self._asks_ahead else 0

    def take(self, most: int) -> tuple[Asked, ...]:
        """The next family, at most ``most`` settings of it."""
        family = (self._ahead.popleft(),) if self._ahead else self._asked(most)
        self._admitted += len(family)
        return family

    def to_store(self) -> tuple[Proposal, ...]:
        """What was asked for since the last call."""
        proposals, self._unstored = tuple(self._unstored), []
        return proposals

    def _asked(self, most: int) -> tuple[Asked, ...]:
        left = self._budget.settings - self._admitted - len(self._ahead)
        family = self._proposals.ask(min(most, left))
        self._exhausted = not family and left > 0
        self._unstored += [
            Proposal(index=asked.index, parameters=asked.parameters, attributes=asked.attributes)
            for asked in family
        ]
        return family
