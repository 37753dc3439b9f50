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
from sweeps.rungs import control_group


class ProposalQueue:
    """Asks for settings, ahead where that takes time, and keeps what is not stored or has no trials yet."""

    def __init__(
        self, space: SearchSpace, budget: Budget, proposals: Proposals, equivalents: Equivalents
    ) -> None:
        """Nothing asked for yet.

        Only samplers that take their time are asked ahead, in one lane, and not for families, which stay
        whole. Settings of a pruner's control group come last, when slots begin to be free anyway.
        """
        self._budget = budget
        self._proposals = proposals
        self._asks_ahead = learns(space.sampler) and not space.branches and budget.lanes == 1
        self._ahead: deque[Asked] = deque()
        self._is_control = control_group(space)
        self._family_size = len(space.schedules) if space.branches else 1
        self._last: deque[Asked] = deque()  # to be taken when there is nothing else
        self._unstored: list[Proposal] = []
        self._equivalents = equivalents
        self._admitted = 0  # settings with trials, or that wait for those of another

    def restore(self, admitted: int, without_trials: Sequence[Asked]) -> None:
        """Go on from stored proposals: so many have trials, and these, in their order, have none yet."""
        self._admitted = admitted
        self._put_ahead(without_trials)

    @property
    def has_more(self) -> bool:
        """Whether there are settings still to be taken."""
        return bool(self._last) or self.has_others

    @property
    def has_others(self) -> bool:
        """Whether there are beside those that were put off."""
        asked = self._admitted + len(self._ahead) + len(self._last)
        return bool(self._ahead) or (asked < self._budget.settings and not self._proposals.exhausted)

    @property
    def put_off(self) -> tuple[int, ...]:
        """Settings of the control group, by index, that wait for the others to have been tried."""
        return tuple(asked.index for asked in self._last)

    def forget_put_off(self) -> None:
        """No budget is left for them."""
        self._last.clear()

    @property
    def settings_taken(self) -> int:
        """Settings that have been taken so far."""
        return self._admitted

    @property
    def settings_expected(self) -> int:
        """Settings that will have been taken at the end."""
        known = self._admitted + len(self._ahead) + len(self._last)
        return known if self._proposals.exhausted else self._budget.settings

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
        queue = self._last if self._is_control(asked.index) else self._ahead
        insort(queue, asked, key=attrgetter("index"))

    @property
    def rounds_ahead(self) -> int:
        """For how many rounds :meth:`ask_ahead` wants to know the room; none where nothing is asked ahead."""
        return self._budget.asked_ahead if self._asks_ahead else 0

    def take(self, most: int) -> tuple[Asked, ...]:
        """The next family, at most ``most`` settings of it; none where all that was asked is put off."""
        if self._ahead:
            self._admitted += 1
            return (self._ahead.popleft(),)
        if asked := self._asked(most):
            family = self._without_control(asked)
            self._admitted += len(family)
            return family
        return self.take_put_off(most)

    def take_put_off(self, most: int) -> tuple[Asked, ...]:
        """The next of those that were put off, at most ``most``, with the rest of its family."""
        family = self._last_family(most) if self._last else ()
        self._admitted += len(family)
        return family

    def to_store(self) -> tuple[Proposal, ...]:
        """What was asked for since the last call."""
        proposals, self._unstored = tuple(self._unstored), []
        return proposals

    def _put_ahead(self, family: Sequence[Asked]) -> None:
        for asked in self._without_control(family):
            if self._equivalents.take_in(asked):
                self._ahead.append(asked)
            else:
                self._admitted += 1

    def _without_control(self, family: Sequence[Asked]) -> tuple[Asked, ...]:
        """Those that are not put off to the end; who waits for an equivalent setting waits anyway."""
        for asked in family:
            if not self._is_control(asked.index):
                continue
            if self._equivalents.take_in(asked):
                self._last.append(asked)
            else:
                self._admitted += 1
        return tuple(asked for asked in family if not self._is_control(asked.index))

    def _last_family(self, most: int) -> tuple[Asked, ...]:
        """The next of those that were put off, with the rest of its family."""
        found = [self._last.popleft()]
        place = found[0].index // self._family_size
        while self._last and len(found) < most and self._last[0].index // self._family_size == place:
            found.append(self._last.popleft())
        return tuple(found)

    def _asked(self, most: int) -> tuple[Asked, ...]:
        left = self._budget.settings - self._admitted - len(self._ahead) - len(self._last)
        family = self._proposals.ask(min(most, left))
        for asked in family:
            self._equivalents.know(asked)
        self._unstored += [
            Proposal(index=asked.index, parameters=asked.parameters, attributes=asked.attributes)
            for asked in family
        ]
        return family
