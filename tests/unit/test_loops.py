"""Training loops of users in a worker: what they are given, what they may yield, and how they end."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.settings import Schedule, Setting
from search_spaces.task_code import TaskRefused
from tests.unit.loops_for_tests import LINE, loop_in, plain, round_of, trial, worker_of
from workers.loop_setting import LoopSetting
from workers.messages import Diverged, Failed, Measured, Outcome
from workers.tasks.registry import task_class
from workers.tasks.task_file import task_file

YIELDS = "for epoch in range(setting.epochs):\n    yield {yielded}"
GOOD = "{'train_loss': 1.0, 'val_loss': 2.0}"


def outcomes_of(
    folder: Path, text: str, *, epochs: int = 3, metric: str = "val_loss", **changes: Any
) -> list[Outcome]:
    """All outcomes of one trial of the file's loop."""
    name = "Line" if "class Line" in text else "Plain"
    worker = worker_of(loop_in(folder, text, name), epochs=epochs, metric=metric)
    outcomes = list(round_of(worker, (0,), trial(**changes)).outcomes)
    while isinstance(outcomes[-1], Measured) and outcomes[-1].epoch < epochs:
        outcomes += round_of(worker, (0,)).outcomes
    return outcomes


def events_of(folder: Path) -> list[Any]:
    found: list[Any] = task_file(str(folder / "own.py")).module.events  # type: ignore[attr-defined]
    return found


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


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("torch.tensor(0.5, requires_grad=True)", 0.5),
        ("torch.tensor([2])", 2.0),
        ("np.float32(0.5)", 0.5),
        ("np.array([[0.25]])", 0.25),
        ("np.int64(3)", 3.0),
        ("True", 1.0),
        ("__import__('fractions').Fraction(1, 4)", 0.25),
        ("float('nan')", math.nan),
    ],
)
def test_anything_that_is_one_number_is_a_metric(value: str, number: float, tmp_path: Path) -> None:
    body = f"import numpy as np, torch\n{YIELDS}".format(yielded=f"{{**{GOOD}, 'f 1': {value}}}")
    first = outcomes_of(tmp_path, plain(body))[0]
    assert isinstance(first, Measured)
    assert first.metrics["f 1"] == pytest.approx(number, nan_ok=True)
    assert type(first.metrics["f 1"]) is float
    assert list(first.metrics) == ["val_loss", "f 1"]
    assert first.train_loss == 1.0


WRONG: dict[str, tuple[str, str]] = {
    "no dict": (YIELDS.format(yielded="0.5"), "line 9: train() yielded a value of type float; wants a dict"),
    "nothing": (YIELDS.format(yielded=""), "line 9: train() yielded nothing (None); wants a dict of names"),
    "no val_loss": (
        YIELDS.format(yielded="{'train_loss': 1.0, 'valloss': 2}"),
        "yielded no 'val_loss', only train_loss, valloss; wants 'val_loss', the loss on what is not trained on; did you",
    ),
    "no train_loss": (
        YIELDS.format(yielded="{'val_loss': 1.0}"),
        "no 'train_loss', only val_loss; wants 'train_loss'",
    ),
    "an empty dict": (YIELDS.format(yielded="{}"), "no 'train_loss', an empty dict"),
    "a list": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'f1': [1.0]}}"),
        "yielded 'f1', a value of type list; wants a number",
    ),
    "a text": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'f1': '1.0'}}"),
        "yielded 'f1', a value of type str; wants a number",
    ),
    "complex": (YIELDS.format(yielded=f"{{**{GOOD}, 'f1': 1j}}"), "yielded 'f1', a value of type complex"),
    "a tensor": (
        "import torch\n" + YIELDS.format(yielded=f"{{**{GOOD}, 'f1': torch.zeros(2, 3)}}"),
        "yielded 'f1' of shape (2, 3); wants a number, or a tensor of one element; its mean, say",
    ),
    "a number for a name": (
        YIELDS.format(yielded=f"{{**{GOOD}, 3: 1.0}}"),
        "yielded one named 3; wants names of",
    ),
    "a column's name": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'epoch': 1}}"),
        "one named 'epoch', which is a column of",
    ),
    "a new name": (
        YIELDS.format(yielded=f"{{**{GOOD}, f'm{{epoch}}': 1}}"),
        "line 9: train() yielded no 'm0', which epoch 1 has, in epoch 2; wants val_loss, m0 in every epoch",
    ),
    "one more name": (
        YIELDS.format(yielded=f"{{**{GOOD}, **({{'late': 1}} if epoch else {{}})}}"),
        "yielded 'late', which epoch 1 has not, in epoch 2",
    ),
    "too few epochs": (
        f"yield {GOOD}\nyield {GOOD}",
        "train() ended after 2 of 3 epochs; wants a yield for each of setting.epochs",
    ),
    "no epoch": ("return\nyield", "train() ended after 0 of 3 epochs"),
    "an error": ("raise ValueError('of mine')\nyield", "ValueError: of mine"),
    "an exit": ("raise SystemExit(3)\nyield", "SystemExit: 3, which would end Ravine"),
    "inside no_grad": (
        f"import torch\nwith torch.no_grad():\n    {YIELDS.format(yielded=GOOD)}".replace(
            "\n    yield", "\n        yield"
        ),
        "train() yielded inside torch.no_grad(); wants the yield after that block",
    ),
    "inside inference_mode": (
        f"import torch\nwith torch.inference_mode():\n    yield {GOOD}",
        "train() yielded inside torch.inference_mode()",
    ),
    "inside autocast": (
        f"import torch\nwith torch.autocast('cpu'):\n    yield {GOOD}",
        "train() yielded inside torch.autocast()",
    ),
    "a step of half": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'step': 1.5}}"),
        "yielded 'step': 1.5; wants the updates",
    ),
    "a rate that is none": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'lr': float('nan')}}"),
        "yielded 'lr': nan; wants a finite number",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_loop_gets_wrong_fails_its_trial_in_one_sentence(kind: str, tmp_path: Path) -> None:
    body, words = WRONG[kind]
    outcomes = outcomes_of(tmp_path, plain(body))
    failed = outcomes[-1]
    assert isinstance(failed, Failed)
    assert failed.cause == "user_error"
    assert words in failed.message
    assert "\n" not in failed.message
    assert events_of(tmp_path) == [("closed", 0.1)]
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_the_sweeps_metric_and_what_a_schedule_watches_must_be_yielded(tmp_path: Path) -> None:
    failed = outcomes_of(tmp_path, plain(YIELDS.format(yielded=GOOD)), metric="val_accuracy")[0]
    assert isinstance(failed, Failed)
    assert (
        "no 'val_accuracy', only train_loss, val_loss; wants 'val_accuracy', the sweep's metric"
        in failed.message
    )
    (tmp_path / "plateau").mkdir()
    plateau = Schedule(name="ReduceLROnPlateau", arguments={"mode": "max"}, watch="f1")
    failed = outcomes_of(tmp_path / "plateau", plain(YIELDS.format(yielded=GOOD)), schedule=plateau)[0]
    assert isinstance(failed, Failed)
    assert "no 'f1', only train_loss, val_loss; wants 'f1', which ReduceLROnPlateau watches" in failed.message


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


@pytest.mark.parametrize(
    ("changes", "yielded", "expected"),
    [
        ({}, "{}", (1, 0.1, 0.0, None)),
        ({"arguments": {"lr": 0.1, "momentum": 0.9}}, "{'step': 12}", (12, 0.1, 0.9, None)),
        (
            {"arguments": {"momentum": 0.5}},
            "{'lr': 0.3, 'momentum': 0.4, 'grad_norm': 2}",
            (1, 0.3, 0.4, 2.0),
        ),
        ({"arguments": {}}, "{}", (1, 0.001, 0.0, None)),
        ({"optimizer": "Adam"}, "{}", (1, 0.1, 0.9, None)),
        ({"optimizer": "Adam", "arguments": {"lr": 0.1, "betas": (0.7, 0.9)}}, "{}", (1, 0.1, 0.7, None)),
        ({"optimizer": "Adagrad"}, "{}", (1, 0.1, None, None)),
        (
            {"schedule": Schedule(name="StepLR", arguments={"step_size": 1})},
            "{'lr': 0.01}",
            (1, 0.01, None, None),
        ),
    ],
)
def test_a_loop_without_pytorch_has_the_settings_numbers_or_its_own(
    changes: dict[str, Any], yielded: str, expected: tuple[object, ...], tmp_path: Path
) -> None:
    text = plain(YIELDS.format(yielded=f"{{**{GOOD}, **{yielded}}}")).replace('["lr"]', '.get("lr")')
    first = outcomes_of(tmp_path, text, **changes)[0]
    assert isinstance(first, Measured)
    grad_norm = None if math.isnan(first.grad_norm) else first.grad_norm
    assert (first.step, first.lr, first.momentum, grad_norm) == expected
    assert first.peak_lr == first.lr
    assert list(first.metrics) == ["val_loss"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"schedule": Schedule(name="StepLR", arguments={"step_size": 1})}, "schedule StepLR"),
        ({"warmup_epochs": 1}, "warm-up"),
    ],
)
def test_a_loop_that_leaves_the_schedule_aside_is_told(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    failed = outcomes_of(tmp_path, plain(YIELDS.format(yielded=GOOD)), **changes)[0]
    assert isinstance(failed, Failed)
    assert f"the sweep's {what} changes the learning rate, and train() does not say to what" in failed.message


def test_declared_metrics_must_be_yielded_all_and_no_others(tmp_path: Path) -> None:
    text = plain(YIELDS.format(yielded=GOOD)).replace(
        "class Plain:", "class Plain:\n    metrics = ['f1', 'train_loss']\n"
    )
    reference = loop_in(tmp_path, text)
    assert task_class(reference).metrics == ("val_loss", "f1")
    failed = outcomes_of(tmp_path, text)[0]
    assert isinstance(failed, Failed)
    assert (
        "yielded no 'f1', which the class's 'metrics' has, in epoch 1; wants val_loss, f1 in"
        in failed.message
    )


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
