"""Proposal queue: settings that were asked for before there is room for them."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from search_spaces.samplers import learns
from search_spaces.space import SearchSpace
from sweeps.equivalents import Equivalents
from sweeps.plan import Budget, asked_by_now
from sweeps.proposals import Asked, Proposals
from sweeps.records import Proposal


class ProposalQueue:
    """Asks for settings, ahead where that takes time, and keeps what is not stored or has no trials yet."""

    def __init__(
        self, space: SearchSpace, budget: Budget, proposals: Proposals, equivalents: Equivalents
    ) -> None:
        """Nothing asked for yet.

        Only samplers that take their time are asked ahead, in one lane, and not for families, which stay
        whole.
        """
        self._budget = budget
        self._proposals = proposals
        self._asks_ahead = learns(space.sampler) and not space.branches and budget.lanes == 1
        self._ahead: deque[Asked] = deque()
        self._unstored: list[Proposal] = []
        self._equivalents = equivalents
        self._admitted = 0  # settings with trials, or that wait for those of another
        self._exhausted = False

    def restore(self, admitted: int, without_trials: Sequence[Asked]) -> None:
        """Go on from stored proposals: so many have trials, and these, in their order, have none yet."""
        self._admitted = admitted
        self._put_ahead(without_trials)

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
        for _ in range(asked_by_now(free) - len(self._ahead)):
            if not (family := self._asked(1)):
                break
            self._put_ahead(family)

    def put_back(self, asked: Asked) -> None:
        """A setting that waited for another's trials is to have its own."""
        self._admitted -= 1
        insort(self._ahead, asked, key=attrgetter("index"))

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

    def _put_ahead(self, family: Sequence[Asked]) -> None:
        for asked in family:
            if self._equivalents.take_in(asked):
                self._ahead.append(asked)
            else:
                self._admitted += 1

    def _asked(self, most: int) -> tuple[Asked, ...]:
        left = self._budget.settings - self._admitted - len(self._ahead)
        family = self._proposals.ask(min(most, left))
        self._exhausted = not family and left > 0
        self._unstored += [
            Proposal(index=asked.index, parameters=asked.parameters, attributes=asked.attributes)
            for asked in family
        ]
        return family
