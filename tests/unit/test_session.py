"""Sessions against a pool whose curves are a formula: determinism, losses, kills, ends."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps.proposals import Proposals
from sweeps.records import SweepState, TrialState
from sweeps.replay import ReplayMismatch
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import FakePool, Killed, Silence, everything, run, space, stored
from workers.pool import WorkerLost

KINDS: dict[str, dict[str, Any]] = {
    "tpe": {},
    "random and asha": {"sampler": "random", "pruner": "asha"},
    "tpe and hyperband": {"pruner": "hyperband"},
    "qmc and median": {"sampler": "qmc", "pruner": "median"},
    "random and decay_fair": {"sampler": "random", "pruner": "decay_fair"},
    "tpe and decay_fair, two seeds": {"pruner": "decay_fair", "seeds": (0, 1), "trials": 15, "epochs": 22},
    "grid": {"sampler": "grid", "trials": 24},
    "two seeds and asha": {"seeds": (0, 3), "trials": 10, "pruner": "asha"},
    "one epoch": {"epochs": 1, "trials": 23},
    "one epoch, two seeds": {"epochs": 1, "trials": 9, "seeds": (0, 1), "concurrency": 4},
    "two epochs": {"epochs": 2, "trials": 23, "sampler": "random"},
    "one at a time": {"concurrency": 1, "trials": 5},
    "asked far ahead": {"epochs": 22},
    "asked far ahead, pruned, two seeds": {"epochs": 22, "pruner": "asha", "seeds": (0, 1), "trials": 15},
    "more seeds than places": {"seeds": (0, 1, 2), "trials": 4, "concurrency": 2},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def check_complete(store: Store, sweep_id: int, space_: SearchSpace) -> None:
    """Every trial ended once; curves have neither gaps nor doubles."""
    trials = store.trials(sweep_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len(trials) == space_.trials * len(space_.seeds)
    proposals = store.proposals(sweep_id)
    assert [proposal.index for proposal in proposals] == sorted({trial.setting_index for trial in trials})
    epochs: dict[int, list[int]] = {}
    for measurement in store.measurements(sweep_id):
        epochs.setdefault(measurement.number, []).append(measurement.epoch)
    for trial in trials:
        assert trial.state in (TrialState.finished, TrialState.pruned, TrialState.diverged)
        assert epochs.get(trial.number, []) == list(range(1, trial.epochs_done + 1))
        assert (trial.state is TrialState.finished) == (trial.epochs_done == space_.epochs)
        assert (trial.value is None) == (trial.state is TrialState.diverged)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_sweep_however_fast_anyone_was(store: Store, kind: str) -> None:
    space_ = space(**KINDS[kind])
    results = []
    for workers, seed in ((1, 0), (2, 1), (3, 2)):
        sweep_id = stored(store, space_)
        pools: list[FakePool] = []
        assert run(store, sweep_id, space_, workers=workers, seed=seed, pools=pools) is SweepState.finished
        check_complete(store, sweep_id, space_)
        results.append(everything(store, sweep_id))
        assert pools[0].closed
        if workers == 1:  # several workers are a round apart at most, so successors may overlap
            assert pools[0].most_held <= max(space_.concurrency, len(space_.seeds))
    assert results[0] == results[1] == results[2]


def test_pruning_and_divergence_really_happen(store: Store) -> None:
    space_ = space(sampler="random", pruner="asha")
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    states = Counter(trial.state for trial in store.trials(sweep_id))
    assert states[TrialState.pruned] > 3
    assert states[TrialState.diverged] > 0
    assert states[TrialState.finished] > 0


def test_another_seed_gives_another_sweep(store: Store) -> None:
    results = []
    for seed in (0, 1):
        space_ = space(seed=seed)
        sweep_id = stored(store, space_)
        run(store, sweep_id, space_)
        results.append(everything(store, sweep_id))
    assert results[0][0] != results[1][0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("luck", range(3))
def test_a_killed_and_resumed_sweep_equals_the_undisturbed_one(store: Store, kind: str, luck: int) -> None:
    space_ = space(**KINDS[kind])
    undisturbed = stored(store, space_)
    run(store, undisturbed, space_)
    disturbed = stored(store, space_)
    chance = random.Random(luck)
    mean = 2 if space_.epochs == 1 else max(6, space_.epochs)
    kills = 0
    while True:
        try:
            state = run(
                store,
                disturbed,
                space_,
                workers=chance.choice((1, 2, 3)),
                seed=luck,
                fault=_after(chance, Killed, mean=mean),
            )
        except Killed:
            kills += 1
            continue
        break
    assert state is SweepState.finished
    assert kills > 0, "nothing was tested"
    check_complete(store, disturbed, space_)
    assert everything(store, disturbed) == everything(store, undisturbed)


def test_what_was_asked_ahead_is_stored_before_it_has_trials(store: Store) -> None:
    space_ = space(epochs=22)
    undisturbed, disturbed = stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_)
    with pytest.raises(Killed):
        run(store, disturbed, space_, fault=_at_report(20, Killed))
    waiting = {proposal.index for proposal in store.proposals(disturbed)}
    waiting -= {trial.setting_index for trial in store.trials(disturbed)}
    assert waiting == {7, 8}
    assert run(store, disturbed, space_) is SweepState.finished
    assert everything(store, disturbed) == everything(store, undisturbed)


def _after(chance: random.Random, error: type[BaseException], mean: int = 6) -> Callable[[], None]:
    """A fault after a random number of reports, about ``mean``."""
    left = chance.randint(1, 2 * mean)

    def fault() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    return fault


def test_an_epoch_trained_again_must_have_the_stored_bits(store: Store) -> None:
    space_ = space()
    sweep_id = stored(store, space_)
    with pytest.raises(Killed):
        run(store, sweep_id, space_, fault=_at_report(5, Killed))
    rounds = store.sweep(sweep_id).rounds_done
    with pytest.raises(ReplayMismatch, match="Epoch 1 of trial 0"):
        run(store, sweep_id, space_, shift=1e-16)
    assert store.sweep(sweep_id).state is SweepState.waiting
    assert store.sweep(sweep_id).rounds_done == rounds
    assert run(store, sweep_id, space_) is SweepState.finished


def test_arrival_order_tells_every_mean_after_a_resume(store: Store) -> None:
    space_ = space(order="arrival", seeds=(0, 1, 2), trials=6, concurrency=6, sampler="random")
    sweep_id = stored(store, space_)
    with pytest.raises(Killed):
        run(store, sweep_id, space_, workers=2, fault=_at_report(7, Killed))
    told: list[tuple[int, int]] = []
    report = Proposals.report

    def listen(self: Proposals, index: int, epoch: int, value: float) -> None:
        told.append((index, epoch))
        report(self, index, epoch, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Proposals, "report", listen)
        assert run(store, sweep_id, space_, workers=3, seed=2) is SweepState.finished
    check_complete(store, sweep_id, space_)
    ended = {t.setting_index: t.state for t in store.trials(sweep_id)}
    unfinished = {t.setting_index for t in store.trials(sweep_id) if t.state is not TrialState.finished}
    for index in set(ended) - unfinished:
        epochs = [epoch for found, epoch in told if found == index]
        assert epochs == list(range(epochs[0], space_.epochs + 1))


def _at_report(number: int, error: type[BaseException]) -> Callable[[], None]:
    """A fault at exactly this report."""
    count = 0

    def fault() -> None:
        nonlocal count
        count += 1
        if count == number:
            raise error

    return fault


def test_a_lost_worker_costs_a_session_and_nothing_else(store: Store) -> None:
    space_ = space(pruner="asha")
    undisturbed, disturbed = stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_)
    reports, observer = 0, Silence()

    def fault() -> None:
        nonlocal reports
        reports += 1
        if reports in (6, 14):
            raise WorkerLost(0, "killed")

    assert run(store, disturbed, space_, fault=fault, observer=observer) is SweepState.finished
    assert observer.ends == 1
    assert everything(store, disturbed) == everything(store, undisturbed)
    assert any(trial.attempt > 0 for trial in store.trials(disturbed))
    assert sum("worker 0 was lost" in sentence for sentence in observer.sentences) == 2


def test_losses_without_progress_leave_the_sweep_waiting(store: Store) -> None:
    space_ = space()
    sweep_id = stored(store, space_)

    def fault() -> None:
        raise WorkerLost(0, "killed")

    assert run(store, sweep_id, space_, fault=fault) is SweepState.waiting
    assert store.sweep(sweep_id).state is SweepState.waiting
    assert {trial.state for trial in store.trials(sweep_id)} == {TrialState.waiting}
    assert run(store, sweep_id, space_) is SweepState.finished


def test_an_interruption_leaves_everything_waiting(store: Store) -> None:
    space_ = space()
    sweep_id = stored(store, space_)
    questions = iter([False] * 7 + [True])
    observer = Silence()
    state = run(store, sweep_id, space_, interrupted=lambda: next(questions), observer=observer)
    assert state is SweepState.waiting
    assert observer.ends == 0
    row = store.sweep(sweep_id)
    assert (row.state, row.owner) == (SweepState.waiting, None)
    assert TrialState.running not in {trial.state for trial in store.trials(sweep_id)}


def test_a_stop_request_cancels_what_is_open(store: Store) -> None:
    space_ = space()
    sweep_id = stored(store, space_)
    store.request_stop(sweep_id)
    assert run(store, sweep_id, space_) is SweepState.stopped
    assert {trial.state for trial in store.trials(sweep_id)} == {TrialState.cancelled}


@pytest.mark.parametrize(
    ("concurrency", "order"), [(1, "rounds"), (5, "rounds"), (8, "rounds"), (5, "arrival")]
)
def test_a_sweep_whose_first_trials_all_fail_the_same_way_stops_early(
    store: Store, concurrency: int, order: str
) -> None:
    space_ = space(concurrency=concurrency, order=order)
    sweep_id = stored(store, space_)
    fails = {number: f"ValueError: no weights of shape {number}" for number in range(space_.trials)}
    assert run(store, sweep_id, space_, failing=fails) is SweepState.failed
    trials = store.trials(sweep_id)
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.failed] == max(5, concurrency)
    assert set(states) <= {TrialState.failed, TrialState.cancelled}
    assert len(trials) <= 3 * concurrency + 5
    error = store.sweep(sweep_id).error
    assert error == (
        f"the first {max(5, concurrency)} trials failed the same way: ValueError: no weights of shape 0"
    )


def test_a_few_failures_beside_trials_that_train_stop_nothing(store: Store) -> None:
    space_ = space(concurrency=24)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_, failing=dict.fromkeys(range(6), "no")) is SweepState.finished
    assert store.sweep(sweep_id).error is None


def test_failures_of_several_ways_are_counted(store: Store) -> None:
    space_ = space(concurrency=8)
    sweep_id = stored(store, space_)
    fails = {0: "KeyError: a", 1: "ValueError: b", 2: "ValueError: c", 3: "ValueError: d", 4: "KeyError: e"}
    assert run(store, sweep_id, space_, failing=fails) is SweepState.failed
    assert store.sweep(sweep_id).error == "5 of 5 trials failed, most of them (3) with ValueError: b"


def test_failures_after_successes_are_told_apart(store: Store) -> None:
    space_ = space(concurrency=1, trials=12)
    sweep_id = stored(store, space_)
    fails = dict.fromkeys(range(3, 12), "ValueError: b")
    assert run(store, sweep_id, space_, failing=fails) is SweepState.failed
    assert store.sweep(sweep_id).error == "4 of 7 trials failed, with ValueError: b"


def test_one_failing_trial_fails_the_sweep_of_one(store: Store) -> None:
    space_ = space(trials=1)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_, failing=True) is SweepState.failed
    assert store.sweep(sweep_id).error == "the only trial failed: no"


def test_arrival_order_ends_every_trial_once_with_the_same_curves(store: Store) -> None:
    space_ = space(order="arrival", sampler="random", concurrency=6)
    by_setting = []
    for workers, seed in ((1, 0), (3, 1)):
        sweep_id = stored(store, space_)
        pools: list[FakePool] = []
        assert run(store, sweep_id, space_, workers=workers, seed=seed, pools=pools) is SweepState.finished
        check_complete(store, sweep_id, space_)
        by_setting.append([(t.setting, t.value) for t in store.trials(sweep_id)])
    assert by_setting[0] == by_setting[1]


@pytest.mark.parametrize("pruner", ["asha", "decay_fair"])
def test_arrival_order_resumes_with_other_workers(store: Store, pruner: str) -> None:
    space_ = space(order="arrival", pruner=pruner, concurrency=6)
    sweep_id = stored(store, space_)
    chance = random.Random(5)
    with pytest.raises(Killed):
        run(store, sweep_id, space_, workers=3, fault=_after(chance, Killed))
    assert run(store, sweep_id, space_, workers=2, seed=1) is SweepState.finished
    check_complete(store, sweep_id, space_)


def test_a_grid_ends_when_every_point_is_trained(store: Store) -> None:
    space_ = space(sampler="grid", trials=10_000, concurrency=50)
    sweep_id, observer = stored(store, space_), Silence()
    assert run(store, sweep_id, space_, observer=observer) is SweepState.finished
    points = 4 * 3 * 2 * (1 + 2 * 2)
    assert {snapshot.trials_expected for snapshot in observer.snapshots} == {points}
    assert len(store.trials(sweep_id)) == points
    settings = {str(sorted(t.setting.items(), key=str)) for t in store.trials(sweep_id)}
    without_momentum = points // 3
    assert len(settings) == points - without_momentum // 2  # nesterov says nothing there
