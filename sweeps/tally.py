"""The tally: what is counted of a sweep's trials, open and ended ones, and which has been the best so far."""

from __future__ import annotations

from sweeps.entries import OpenTrial
from sweeps.records import OPEN_STATES, TrialProgress, TrialRow, TrialState


class Tally:
    """Counts of one running sweep."""

    def __init__(self, goal: str) -> None:
        """Nothing counted yet; ``goal``: minimize or maximize."""
        self._sign = 1.0 if goal == "minimize" else -1.0
        self.rounds_done = 0
        self.counts: dict[TrialState, int] = dict.fromkeys(TrialState, 0)
        self.epochs_done = 0
        self.epochs_trained = 0  # those that trials shared on one row counted once
        self._open_epochs = 0  # done by open trials
        self._open_and_shown = 0  # open trials that have done an epoch
        self.best: OpenTrial | None = None

    @property
    def ended(self) -> int:
        """Trials that have."""
        return sum(count for state, count in self.counts.items() if state not in OPEN_STATES)

    @property
    def shown(self) -> int:
        """Trials that have shown anything: an epoch or their end."""
        return self.ended + self._open_and_shown

    def epochs_expected(self, trials: int, *, epochs: int, limit: int | None) -> int:
        """Epochs there will have been of so many trials if all that have not ended train ``epochs``.

        As far as a budget of ``limit`` trained epochs goes.
        """
        coming = trials - self.ended
        expected = self.epochs_done - self._open_epochs + coming * epochs
        return expected if limit is None else min(expected, self.epochs_done + limit - self.epochs_trained)

    def restore(self, trial: TrialRow) -> None:
        """A stored trial; :meth:`compare` takes those that are to be the best."""
        self.counts[trial.state] += 1
        self.epochs_done += trial.epochs_done
        self.epochs_trained += trial.epochs_trained
        if trial.state in OPEN_STATES:
            self._open_epochs += trial.epochs_done
            self._open_and_shown += trial.epochs_done > 0

    def admit(self) -> None:
        """A trial is open and waits for its first orders."""
        self.counts[TrialState.waiting] += 1

    def start(self, trials: int) -> None:
        """Orders for so many waiting trials have been sent; the record being written says so."""
        self.counts[TrialState.waiting] -= trials
        self.counts[TrialState.running] += trials

    def measure(self, epoch: int, *, trained: int) -> None:
        """An open trial has done an epoch, for which ``trained`` epochs of rows are counted."""
        self.epochs_trained += trained
        self.epochs_done += 1
        self._open_epochs += 1
        self._open_and_shown += epoch == 1

    def end(self, trial: OpenTrial, state: TrialState) -> None:
        """A running trial has ended."""
        self._open_epochs -= trial.epochs_done
        self._open_and_shown -= trial.epochs_done > 0
        self.counts[TrialState.running] -= 1
        self.counts[state] += 1

    def copy(self, progress: TrialProgress) -> None:
        """A trial is stored whole as another one ended; none of its epochs was trained."""
        self.counts[progress.state] += 1
        self.epochs_done += progress.epochs_done

    def compare(self, trial: OpenTrial) -> None:
        """A finished trial may be the best."""
        assert trial.value is not None  # noqa: S101 - finished trials have one
        key = (self._sign * trial.value, trial.row.number)
        if (
            self.best is None
            or self.best.value is None
            or key < (self._sign * self.best.value, self.best.row.number)
        ):
            self.best = trial
