"""Training loops of users in a worker: what they are given, what they may yield, and how they end."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.settings import Schedule, Setting
from search_spaces.task_code import TaskRefused
from tests.unit.loops_for_tests import (
    GOOD,
    LINE,
    YIELDS,
    events_of,
    loop_in,
    outcomes_of,
    plain,
    round_of,
    trial,
    worker_of,
)
from workers.in_process_pool import InProcessPool
from workers.loop_setting import LoopSetting
from workers.messages import Diverged, Failed, Measured, Orders, WorkerSetup
from workers.tasks.registry import task_class


def test_a_setting_is_read_by_the_names_of_the_columns() -> None:
    schedule = Schedule(name="StepLR", arguments={"step_size": 2, "gamma": 0.5})
    own = LoopSetting(
        Setting(
            optimizer="Adam",
            arguments={"lr": 0.1, "betas": (0.8, 0.9)},
            schedule=schedule,
            batch_size=16,
            warmup_epochs=1,
            clip_grad_norm=2.0,
            task_arguments={"width": 8},
        ),
        seed=7,
        epochs=5,
        device="cuda",
    )
    assert own["lr"] == 0.1
    assert own["schedule.gamma"] == 0.5
    assert own["task.width"] == 8
    assert own["betas"] == (0.8, 0.9)
    assert (own.optimizer, own.schedule, own.epochs, own.batch_size) == ("Adam", "StepLR", 5, 16)
    assert (own.seed, own.device, own.clip_grad_norm, own.warmup_epochs) == (7, "cuda", 2.0, 1)
    assert own.get("momentum", "absent") == "absent"
    assert {"lr", "batch_size", "schedule.step_size"} <= set(own)
    assert dict(own)["optimizer"] == "Adam"
    with pytest.raises(TypeError):
        own["lr"] = 1.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        own.epochs = 3  # type: ignore[misc]
    with pytest.raises(KeyError, match=r"'schedule.gama' is not in this trial's setting; .*'schedule.gamma'"):
        own["schedule.gama"]


def test_trials_that_take_turns_do_not_disturb_each_other_nor_us(tmp_path: Path) -> None:
    reference = loop_in(tmp_path, LINE, "Line")
    together = worker_of(reference)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    found: dict[int, list[Measured]] = {0: [], 1: [], 2: []}
    trials = [trial(number, seed=seed) for number, seed in ((0, 0), (1, 1), (2, 0))]
    for index, admitted in enumerate(((trials[0], trials[1]), (trials[2],), (), ())):
        numbers = (0, 1, 2) if index else (0, 1)
        for outcome in round_of(together, numbers, *admitted).outcomes:
            assert isinstance(outcome, Measured)
            found[outcome.number].append(outcome)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[union-attr]
    for number, admitted in enumerate(trials):
        alone = worker_of(reference)
        random.seed(number), torch.manual_seed(number), np.random.seed(number)
        curve = [
            round_of(alone, (number,), *((admitted,) if epoch == 0 else ())).outcomes[0] for epoch in range(3)
        ]
        assert curve == found[number]
    noise = [[outcome.metrics["noise"] for outcome in found[number]] for number in range(3)]
    assert noise[0] == noise[2] != noise[1]
    assert len(set(noise[0])) == 3


def test_a_failing_loop_fails_alone(tmp_path: Path) -> None:
    body = f"if setting['lr'] > 1:\n    raise ValueError('too large')\n{YIELDS.format(yielded=GOOD)}"
    worker = worker_of(loop_in(tmp_path, plain(body)))
    admitted = [trial(number, arguments={"lr": lr}) for number, lr in enumerate((0.1, 2.0, 0.2))]
    kinds = {outcome.number: type(outcome) for outcome in round_of(worker, (0, 1, 2), *admitted).outcomes}
    assert kinds == {0: Measured, 1: Failed, 2: Measured}
    assert [outcome.number for outcome in round_of(worker, (0, 1, 2)).outcomes] == [0, 2]


def test_the_traceback_of_a_loops_error_points_into_the_file(tmp_path: Path) -> None:
    (failed,) = outcomes_of(tmp_path, plain("raise ValueError('of mine')\nyield"))
    assert isinstance(failed, Failed)
    assert f'File "{tmp_path / "own.py"}", line 8, in train\n    raise ValueError' in failed.traceback


@pytest.mark.parametrize(
    ("losses", "reason", "epoch"),
    [
        ("(1, 2), (float('nan'), 1)", "train_loss was nan", 2),
        ("(1, 2), (1, float('inf'))", "val_loss was inf", 2),
        ("(1, 2), (1001, 2)", "train_loss rose to 1001, from 1", 2),
        ("(float('inf'), 2),", "train_loss was inf", 1),
        ("(-1, 2), (-5, 2), (1e9, 1), (1, 1)", "", 0),
    ],
)
def test_loops_diverge_as_other_trials_do(losses: str, reason: str, epoch: int, tmp_path: Path) -> None:
    body = f"for train, val in [{losses}]:\n    yield {{'train_loss': train, 'val_loss': val, 'step': 5}}"
    last = outcomes_of(tmp_path, plain(body))[-1]
    assert isinstance(last, Diverged if reason else Measured)
    if isinstance(last, Diverged):
        assert (last.reason, last.epoch, last.step, last.lr, last.grad_norm) == (reason, epoch, 5, 0.1, None)
    assert events_of(tmp_path) == [("closed", 0.1)]


def test_a_metric_that_is_not_finite_diverges_only_where_it_is_the_sweeps(tmp_path: Path) -> None:
    body = plain(YIELDS.format(yielded=f"{{**{GOOD}, 'f1': float('nan')}}"))
    assert isinstance(outcomes_of(tmp_path, body)[0], Measured)
    assert isinstance(outcomes_of(tmp_path, body, metric="f1")[0], Diverged)


def test_a_loop_that_would_go_on_is_closed_after_its_last_epoch(tmp_path: Path) -> None:
    body = f"while True:\n    events.append('epoch')\n    yield {GOOD}"
    assert len(outcomes_of(tmp_path, plain(body), epochs=2)) == 2
    assert events_of(tmp_path) == ["epoch", "epoch", ("closed", 0.1)]


def test_a_pruned_loop_is_closed_at_once_and_the_others_when_the_worker_is(tmp_path: Path) -> None:
    worker = worker_of(loop_in(tmp_path, plain(f"while True:\n    yield {GOOD}")), epochs=9)
    admitted = [trial(number, arguments={"lr": float(number)}) for number in range(3)]
    round_of(worker, (0, 1, 2), *admitted)
    report = round_of(worker, (0, 2), release=(1,))
    assert [outcome.number for outcome in report.outcomes] == [0, 2]
    assert report.notes == ()
    assert events_of(tmp_path) == [("closed", 1.0)]
    assert worker.close() == ()
    assert sorted(events_of(tmp_path)) == [("closed", 0.0), ("closed", 1.0), ("closed", 2.0)]


def test_what_a_loop_raises_when_it_is_closed_is_a_note(tmp_path: Path) -> None:
    text = (
        plain(f"while True:\n    yield {GOOD}")
        .replace("events.append", "raise OSError")
        .replace("events = []", "")
    )
    worker = worker_of(loop_in(tmp_path, text), epochs=1)
    report = round_of(worker, (3,), trial(3))
    assert [type(outcome) for outcome in report.outcomes] == [Measured]
    (note,) = report.notes
    assert (note.number, note.sentence) == (
        3,
        "its loop, when it was closed, raised OSError: ('closed', 0.1)",
    )
    assert round_of(worker, ()).notes == ()


def test_a_closed_pool_has_closed_its_loops_and_tells_what_they_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = f"try:\n    yield {GOOD}\nfinally:\n    raise OSError('of mine')"
    setup = WorkerSetup(task=loop_in(tmp_path, plain(body)), metric="val_loss", epochs=3, execution="loop")
    pool = InProcessPool(setup)
    pool.send(0, Orders(lane=0, round=1, admit=(trial(7),), advance=(7,)))
    assert pool.receive(1) is not None
    assert events_of(tmp_path) == []
    pool.close()
    assert events_of(tmp_path) == [("closed", 0.1)]
    assert caplog.messages == ["trial 7: its loop, when it was closed, raised OSError: of mine"]


def test_a_loop_that_goes_on_when_it_is_closed_is_a_note(tmp_path: Path) -> None:
    body = f"try:\n    yield {GOOD}\nexcept GeneratorExit:\n    yield {GOOD}"
    worker = worker_of(loop_in(tmp_path, plain(body)), epochs=1)
    (note,) = round_of(worker, (0,), trial()).notes
    assert "RuntimeError: generator ignored GeneratorExit" in note.sentence


def test_an_interruption_that_a_library_turns_into_an_exit_stays_one(tmp_path: Path) -> None:
    body = "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    raise SystemExit(1)\nyield"
    worker = worker_of(loop_in(tmp_path, plain(body)))
    with pytest.raises(KeyboardInterrupt):
        round_of(worker, (0,), trial())


def test_every_trial_has_an_object_of_its_own(tmp_path: Path) -> None:
    yielded = YIELDS.format(yielded=f"{{**{GOOD}, 'count': self.count}}")
    body = f"self.count = getattr(self, 'count', 0) + 1\n{yielded}"
    worker = worker_of(loop_in(tmp_path, plain(body)))
    outcomes = round_of(worker, (0, 1), trial(0), trial(1)).outcomes
    assert [outcome.metrics["count"] for outcome in outcomes if isinstance(outcome, Measured)] == [1, 1]


CLASSES = {
    "no yield": (
        "def train(self, setting, seed, resume):\n        return {}",
        "train() of Own in {file} has no yield",
    ),
    "an argument too few": (
        "def train(self, setting, seed):\n        yield",
        "train(self, setting, seed) of Own in {file} cannot be called with setting, seed and resume: got an unexpected",
    ),
    "an argument too many": (
        "def train(self, setting, seed, resume, x):\n        yield",
        "missing a required argument: 'x'",
    ),
    "async": (
        "async def train(self, setting, seed, resume):\n        yield",
        "train() of Own in {file} has no yield",
    ),
    "metrics of another kind": (
        "metrics = 3\n    def train(self, setting, seed, resume):\n        yield",
        "metrics is 3; wants names of what train() yields",
    ),
    "a metric's name": (
        "metrics = ('lr',)\n    def train(self, setting, seed, resume):\n        yield",
        "metrics names one 'lr', which is a column of the curves already",
    ),
    "neither": (
        "def trian(self):\n        yield",
        "wants a class with model(), data() and loss(outputs, targets), or with",
    ),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_that_cannot_be_a_loop_is_refused(kind: str, tmp_path: Path) -> None:
    body, words = CLASSES[kind]
    reference = loop_in(tmp_path, f"class Own:\n    {body}\n", "Own")
    with pytest.raises(TaskRefused) as refused:
        task_class(reference)
    assert words.format(file=tmp_path / "own.py") in str(refused.value)


@pytest.mark.parametrize(
    ("body", "loop"),
    [
        ("@staticmethod\n    def train(setting, seed, resume):\n        yield", True),
        ("def train(self, **given):\n        yield", True),
        ("def train(self, setting, seed, resume=None, extra=1):\n        yield", True),
        ("model = data = loss = print\n    def train(self, setting, seed, resume):\n        yield", True),
        ("model = data = loss = print\n    def train(self, mode=True):\n        return self", False),
    ],
)
def test_a_generator_called_train_makes_a_class_a_loop(body: str, loop: bool, tmp_path: Path) -> None:
    assert task_class(loop_in(tmp_path, f"class Own:\n    {body}\n", "Own")).loop is loop


def test_a_module_with_its_train_method_is_no_loop(tmp_path: Path) -> None:
    with pytest.raises(TaskRefused, match="is a model, not a task"):
        task_class(loop_in(tmp_path, "from torch import nn\nclass Own(nn.Module):\n    pass\n", "Own"))
