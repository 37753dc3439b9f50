"""Every task that comes with it stacks: what a population asks of a model holds for each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from workers.randomness import initial_model
from workers.tasks.registry import TASKS
from workers.tasks.task import Task

ROWS, BATCH = 4, 6


def small_task(name: str, folder: Path) -> Task:
    """The task ``name``, small, with data of the user's where it needs any."""
    arguments: dict[str, object] = {
        "digits-mlp": {},
        "digits-cnn": {"width": 2, "batch_norm": True},
        "mnist1d": {"width": 3},
        "chars": {"width": 8, "heads": 2, "context": 8, "characters": 500},
        "table": {"path": str(folder / "numbers.csv"), "target": "y", "width": 4},
        "images": {"path": str(folder / "images.npz"), "width": 2, "size": 8, "crop": 1},
    }[name]
    random = np.random.default_rng(0)
    if name == "table":
        rows = "".join(f"{a},{b},{a - 2 * b}\n" for a, b in random.normal(size=(40, 2)))
        (folder / "numbers.csv").write_text("a,b,y\n" + rows)
    if name == "images":
        np.savez(folder / "images.npz", images=random.normal(size=(40, 8, 8)), labels=np.arange(40) % 2)
    return TASKS[name].make(**arguments)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"quadratic"}))
def test_rows_of_a_stack_have_the_loss_and_gradient_of_a_model_alone(name: str, tmp_path: Path) -> None:
    task = small_task(name, tmp_path)
    models = [initial_model(task, seed) for seed in range(ROWS)]
    data = task.data()
    inputs = torch.stack([data.train_inputs[row : row + BATCH] for row in range(ROWS)])
    targets = torch.stack([data.train_targets[row : row + BATCH] for row in range(ROWS)])
    skeleton = initial_model(task, 0)

    def loss(parameters, buffers, row_inputs, row_targets):  # type: ignore[no-untyped-def]
        return task.loss(functional_call(skeleton, (parameters, buffers), (row_inputs,)), row_targets)

    parameters, buffers = stack_module_state(models)  # type: ignore[arg-type]
    with sdpa_kernel(SDPBackend.MATH):
        gradients = vmap(grad(loss))(parameters, buffers, inputs, targets)
    for row, model in enumerate(models):
        task.loss(model(inputs[row]), targets[row]).backward()  # type: ignore[no-untyped-call]
        for parameter_name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[parameter_name][row], parameter.grad, rtol=1e-3, atol=1e-5)
        for buffer_name, buffer in model.named_buffers():
            torch.testing.assert_close(buffers[buffer_name][row], buffer)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"quadratic"}))
def test_metrics_are_those_registered_and_scalar(name: str, tmp_path: Path) -> None:
    task = small_task(name, tmp_path)
    model = initial_model(task, 0).eval()
    data = task.data()
    with torch.no_grad():
        found = task.metrics(model(data.validation_inputs), data.validation_targets)
    assert tuple(found) == TASKS[name].metrics
    assert all(value.shape == () and value.isfinite() for value in found.values())


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"quadratic"}))
def test_twenty_updates_lower_the_training_loss(name: str, tmp_path: Path) -> None:
    task = small_task(name, tmp_path)
    model = initial_model(task, 0)
    data = task.data()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = task.loss(model(data.train_inputs[:32]), data.train_targets[:32])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_data_is_made_once(tmp_path: Path) -> None:
    for name in set(TASKS) - {"quadratic"}:
        task = small_task(name, tmp_path)
        assert task.data() is task.data()


def test_naming_the_tasks_loads_nothing_that_a_task_reads_with() -> None:
    program = (
        "import sys, workers.tasks.registry;"
        "print([name for name in ('sklearn', 'scipy', 'pandas', 'pyarrow', 'PIL') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
