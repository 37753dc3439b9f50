"""What is measured is real training: epochs cut short, as many rows as said, and nothing else changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from search_spaces.settings import Schedule, Setting
from workers import epoch_training, speed_benches
from workers.epoch_training import EpochTraining
from workers.recipe import Recipe
from workers.speed import SpeedQuestion
from workers.speed_benches import TaskBenches, numbers_moved, speeds_of
from workers.tasks.digits_mlp import DigitsMLP
from workers.tasks.registry import make_task, task_data

SETTING = Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9})


def question(task: str = "digits-mlp", **changes: Any) -> SpeedQuestion:
    given = {"setting": SETTING, "most": 5, "trial_epochs": 10**9, **changes}
    return SpeedQuestion(task=task, **given)


def cut(task: str, updates: int, batch_size: int = 32) -> Recipe:
    whole = Recipe(task=make_task(task, ()), data=task_data(task, ()), epochs=9, metric="val_loss")
    return speed_benches._cut(whole, batch_size, updates)


def test_an_epoch_is_cut_short_with_its_share_of_the_evaluation() -> None:
    data = cut("digits-mlp", 11).data
    assert data.updates_per_epoch(32) == 11
    assert len(data.train_inputs) == len(data.train_targets) == 11 * 32
    assert len(data.validation_inputs) == len(data.validation_targets) == 90  # a quarter of 360
    assert len(cut("digits-mlp", 44).data.validation_inputs) == 360
    assert len(cut("digits-mlp", 1, batch_size=1).data.validation_inputs) == 8
    assert cut("quadratic", 5).data.updates_per_epoch(32) == 5


def test_an_attempt_trains_every_row_one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    train = EpochTraining.train

    def watched(self: Any, live: Any, state: Any, rows: Any) -> Any:
        seen.append(len(rows))
        return train(self, live, state, rows)

    monkeypatch.setattr(EpochTraining, "train", watched)
    benches = TaskBenches(cut("digits-mlp", 3), SETTING)
    attempt = benches.rows("grouped", 6)
    assert [attempt(), attempt()] == [18, 18]
    assert seen == [6, 6]
    assert benches.solo()() == 3
    assert benches.has_room()


def test_nothing_is_traced_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before and after could not be compared, and it takes long."""
    monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", 0)
    paths: set[str] = set()
    train = EpochTraining.train

    def watched(self: Any, live: Any, state: Any, rows: Any) -> Any:
        paths.add(self.path)
        return train(self, live, state, rows)

    monkeypatch.setattr(EpochTraining, "train", watched)
    attempt = TaskBenches(cut("digits-mlp", 3), SETTING).rows("grouped", 4)
    assert [attempt(), attempt()] == [12, 12]
    assert paths == {"vmap"}


def test_rows_that_diverge_are_replaced() -> None:
    """Else there would be nothing left to measure."""

    class Infinite(DigitsMLP):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return super().loss(outputs, targets) * torch.inf

    benches = TaskBenches(dataclasses.replace(cut("digits-mlp", 2), task=Infinite()), SETTING)
    attempt = benches.rows("grouped", 5)
    assert [attempt(), attempt()] == [10, 10]


def test_rows_that_do_not_fit_are_said_by_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    train = EpochTraining.train

    def short_of_memory(self: Any, live: Any, state: Any, rows: Any) -> Any:
        if len(rows) > 6:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return train(self, live, state, rows)

    monkeypatch.setattr(EpochTraining, "train", short_of_memory)
    benches = TaskBenches(cut("digits-mlp", 2), SETTING)
    assert benches.rows("grouped", 6)() == 12
    with pytest.raises(MemoryError):
        benches.rows("grouped", 8)()  # the population has halved its width and gone on
    monkeypatch.setattr(EpochTraining, "train", lambda *_: torch.empty(2**48))
    with pytest.raises(MemoryError):
        benches.rows("grouped", 4)()


def test_there_is_room_where_twice_the_growth_is_free_for_every_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = iter([1000, 1100, 1300, 1300, 1000, 1100])
    monkeypatch.setattr(speed_benches, "peak_memory", lambda _: next(peaks))
    monkeypatch.setattr(speed_benches, "free_memory", lambda _: 1500)
    benches = TaskBenches(cut("digits-mlp", 1), SETTING, workers=2)
    assert benches.has_room()  # 2 * (100 + 200) of 1200
    assert not benches.has_room()  # 2 * (300 + 400)
    assert benches.has_room()  # 2 * 300: no more than what it has taken already
    with_data = TaskBenches(cut("digits-mlp", 1), SETTING, workers=2, data_bytes=400)
    assert not with_data.has_room()  # 2 * (400 + 100 + 200)


def test_the_rate_is_next_to_none_and_no_schedule_is_run() -> None:
    plain = speed_benches._plain(
        Setting(
            optimizer="Adam",
            arguments={"lr": 10.0, "eps": 1e-4},
            schedule=Schedule(name="StepLR", arguments={"step_size": 1}),
            warmup_epochs=2,
            batch_size=16,
        )
    )
    assert plain == Setting(optimizer="Adam", arguments={"lr": 1e-6, "eps": 1e-4}, batch_size=16)


def test_a_question_is_answered_and_the_process_left_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = speeds_of(question())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert found is not None
    assert next(iter(found.stacked)) == 4
    assert found.solo is not None
    assert found.compared is None
    assert not torch.are_deterministic_algorithms_enabled()


def test_convolutions_are_compared_where_a_model_convolves() -> None:
    found = speeds_of(question("digits-cnn", most=4))
    assert found is not None
    assert found.compared is not None
    assert set(found.compared) == {"grouped", "unfolded"}
    pinned = speeds_of(question("digits-cnn", most=4, pinned=True))
    assert pinned is not None
    assert (pinned.solo, pinned.compared) == (None, None)


def test_a_sweep_too_short_to_gain_anything_is_not_measured() -> None:
    assert speeds_of(question(trial_epochs=1)) is None


def test_what_moves_more_numbers_is_heavier() -> None:
    weights = 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert numbers_moved("digits-mlp", SETTING) == 32 * weights
