"""What a task's own code raises in training: it fails the trials it has to, and comes back as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.settings import Setting
from tests.unit.task_files_for_tests import changed, task_file_in, with_method
from workers.messages import Admission, Failed, Measured, Orders, WorkerSetup
from workers.worker import Worker

RAISING_WHEN_LARGE = (
    "if outputs.detach().abs().max() > 1e6:\n    raise {error}\n"
    "return nn.functional.cross_entropy(outputs, targets)"
)


@pytest.mark.parametrize("error", ["ValueError('too large')", "SystemExit(0)"])
def test_a_trial_that_trains_alone_fails_alone(error: str, tmp_path: Path) -> None:
    text = with_method("loss", RAISING_WHEN_LARGE.format(error=error))
    setup = WorkerSetup(task=task_file_in(tmp_path, text), metric="val_loss", epochs=3, execution="solo")
    worker = Worker(setup)
    admit = tuple(
        Admission(number=number, seed=0, setting=Setting(optimizer="SGD", arguments={"lr": rate}))
        for number, rate in enumerate((0.1, 1e9, 0.01))
    )
    report = worker.carry_out(Orders(lane=0, round=1, admit=admit, advance=(0, 1, 2)))
    kinds = {outcome.number: type(outcome) for outcome in report.outcomes}
    assert kinds == {0: Measured, 1: Failed, 2: Measured}
    failure = next(outcome for outcome in report.outcomes if isinstance(outcome, Failed))
    assert failure.cause == "user_error"
    assert failure.message.startswith(error.partition("(")[0])
    line = 1 + next(index for index, row in enumerate(text.splitlines()) if f"raise {error}" in row)
    assert f'File "{tmp_path / "mine.py"}", line {line}, in loss\n    raise {error}' in failure.traceback
    again = worker.carry_out(Orders(lane=0, round=2, advance=(0, 1, 2)))
    assert [outcome.number for outcome in again.outcomes] == [0, 2]


def test_a_constructor_that_fails_only_now_fails_its_trials(tmp_path: Path) -> None:
    text = changed("        self.width = width\n", "        self.width = {8: 8}[width]\n")
    setup = WorkerSetup(task=task_file_in(tmp_path, text), metric="val_loss", epochs=3)
    settings = [Setting(optimizer="SGD", arguments={"lr": 0.1}, task_arguments={"width": w}) for w in (8, 9)]
    admit = tuple(Admission(number=n, seed=0, setting=setting) for n, setting in enumerate(settings))
    report = Worker(setup).carry_out(Orders(lane=0, round=1, admit=admit, advance=(0, 1)))
    kinds = {outcome.number: type(outcome) for outcome in report.outcomes}
    assert kinds == {0: Measured, 1: Failed}


@pytest.mark.parametrize("execution", ["stacked", "solo"])
def test_metrics_may_be_plain_numbers_and_val_loss_is_the_loss(execution: str, tmp_path: Path) -> None:
    text = with_method("metrics", "return {'one': 1, 'half': 0.5, 'yes': True}")
    setup = WorkerSetup(task=task_file_in(tmp_path, text), metric="half", epochs=3, execution=execution)
    admit = (Admission(number=0, seed=0, setting=Setting(optimizer="SGD", arguments={"lr": 0.1})),)
    (outcome,) = Worker(setup).carry_out(Orders(lane=0, round=1, admit=admit, advance=(0,))).outcomes
    assert isinstance(outcome, Measured)
    assert {name: outcome.metrics[name] for name in ("one", "half", "yes")} == {
        "one": 1,
        "half": 0.5,
        "yes": 1,
    }
    assert 0 < outcome.metrics["val_loss"] < 1
