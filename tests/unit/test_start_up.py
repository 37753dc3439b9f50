"""What takes seconds to load is loaded by those who need it, when they need it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from workers.compiler_import import without_compiler, without_symbols
from workers.tasks.digits_mlp import digits

HEAVY = (
    "torch._dynamo",
    "sympy",
    "sklearn",
    "pandas",
    "scipy",
    "ray",
    "mlflow",
    "optuna",
    "sqlalchemy",
    "torch",
)


def loaded_by(code: str) -> set[str]:
    """Which heavy libraries a fresh process has loaded after ``code``."""
    asked = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=120, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sweeps.cli", set()),
        ("import workers.ray_runtime", set()),
        ("import workers.worker", {"torch"}),
        ("from workers.torch_catalogue import torch_catalogue; torch_catalogue()", {"torch"}),
        ("from workers.tasks.digits_mlp import digits; digits()", {"torch"}),
        ("import sweeps.sweep_files", {"sqlalchemy"}),
        ("import sweeps.file_text", set()),
    ],
)
def test_only_what_is_needed_is_loaded(code: str, expected: set[str]) -> None:
    assert loaded_by(code) == expected


def test_a_schedules_table_is_made_without_the_compiler() -> None:
    code = """
from search_spaces.settings import Schedule, Setting
from workers.optimization import Horizon
from workers.schedule_table import schedule_path
horizon = Horizon(epochs=4, updates_per_epoch=3)
for optimizer, numbers in (("SGD", {"lr": 0.1, "momentum": 0.9}), ("AdamW", {"lr": 0.1}), ("RMSprop", {"lr": 0.1})):
    for name, arguments, every in (("StepLR", {"step_size": 2}, "epoch"), ("ReduceLROnPlateau", {}, "epoch")):
        schedule = Schedule(name=name, arguments=arguments, every=every)
        schedule_path(Setting(optimizer=optimizer, arguments=numbers, schedule=schedule), horizon)
"""
    assert loaded_by(code) == {"torch"}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_a_trial_is_trained_alone_without_the_compiler(optimizer: str) -> None:
    code = f"""
from search_spaces.settings import Schedule, Setting
from workers.messages import Admission
from workers.recipe import Recipe
from workers.solo import SoloTrial
from workers.tasks.registry import make_task
schedule = Schedule(name="constant", arguments={{}}, every="epoch")
setting = Setting(optimizer="{optimizer}", arguments={{"lr": 0.01}}, schedule=schedule, batch_size=512)
task = make_task("digits-mlp", ())
recipe = Recipe(task=task, data=task.data(), epochs=3, metric="val_loss")
SoloTrial(recipe, Admission(number=0, seed=0, setting=setting)).advance()
import torch
assert "_dynamo" not in vars(torch)
"""
    assert loaded_by(code) == {"torch"}


def test_widths_are_measured_without_the_compiler() -> None:
    code = """
from search_spaces.settings import Setting
from workers.speed import SpeedQuestion
from workers.speed_benches import speeds_of
setting = Setting(optimizer="SGD", arguments={"lr": 0.1})
speeds = speeds_of(SpeedQuestion(task="digits-mlp", setting=setting, most=4, trial_epochs=10**9))
assert speeds.solo
"""
    assert loaded_by(code) == {"torch"}


def test_rows_are_trained_without_the_compiler() -> None:
    code = """
from search_spaces.settings import Setting
from workers.messages import Admission, Orders, WorkerSetup
from workers.worker import Worker
worker = Worker(WorkerSetup(task="digits-mlp", metric="val_loss", epochs=2))
setting = Setting(optimizer="SGD", arguments={"lr": 0.1}, batch_size=64)
admitted = tuple(Admission(number=number, seed=0, setting=setting) for number in range(4))
for turn in (1, 2):
    admit = admitted if turn == 1 else ()
    orders = Orders(lane=0, round=turn, admit=admit, advance=(0, 1, 2, 3))
    assert len(worker.carry_out(orders).outcomes) == 4
"""
    assert loaded_by(code) == {"torch"}


def test_an_optimizer_of_a_users_own_finds_the_real_compiler() -> None:
    code = """
import torch
from workers.compiler_import import step, zero_grad
class Own(torch.optim.SGD):
    def step(self, closure=None):
        assert torch._dynamo.is_compiling is not None
        return super().step(closure)
parameter = torch.nn.Parameter(torch.ones(2))
optimizer = Own([parameter], lr=0.5)
zero_grad(optimizer)
parameter.sum().backward()
step(optimizer)
assert parameter.tolist() == [0.5, 0.5]
"""
    assert "torch._dynamo" in loaded_by(code)


def test_the_help_of_every_command_needs_nothing_heavy() -> None:
    code = """
import sys
from typer.testing import CliRunner
from sweeps.cli import app
for command in ([], ["launch"], ["show"], ["publish"]):
    assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0
"""
    assert loaded_by(code) == set()


def test_functions_are_as_before_afterwards() -> None:
    """Where the compiler is loaded, and where it is not, what it is kept out of stays so."""
    code = """
import torch
from workers.compiler_import import without_compiler
method = torch.optim.SGD.add_param_group
with without_compiler(method):
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
assert not hasattr(method.__wrapped__, "__dynamo_disable")
"""
    assert loaded_by(code) == {"torch"}
    import torch._dynamo

    method = torch.optim.SGD.add_param_group
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    kept = vars(method.__wrapped__)["__dynamo_disable"]  # type: ignore[attr-defined]
    with without_compiler(method, lambda: None):
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert vars(method.__wrapped__)["__dynamo_disable"] is kept  # type: ignore[attr-defined]


def test_what_pytorch_checks_is_checked_without_symbols_too() -> None:
    known = torch._check_with
    with without_symbols():
        torch._check(True)
        with pytest.raises(RuntimeError, match="so it is not"):
            torch._check(False, lambda: "so it is not")
        with pytest.raises(TypeError, match="got a Tensor"):
            torch._check(torch.tensor(True))
    assert torch._check_with is known


@pytest.mark.parametrize("package_is_found", [True, False])
def test_digits_are_scikit_learns(package_is_found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    if not package_is_found:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    digits.cache_clear()
    data: Any = digits()
    digits.cache_clear()
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([data.train_inputs, data.validation_inputs])
    assert torch.equal(inputs, (torch.from_numpy(images).float() / 16)[order])
    assert torch.equal(
        torch.cat([data.train_targets, data.validation_targets]), torch.from_numpy(labels)[order]
    )
