"""The inner loop: what one update of one trial costs, by what it is made with.

Milliseconds of a processor's time for a trial-step, that is one update of one trial with its share of the
evaluation, in one thread. In one run, one after the other and again, least of all rounds:

- arithmetic: an update's matrix products and convolutions alone, batched over the rows, on random numbers;
- ravine: rows of a population, at each width;
- solo: one trial of Ravine's with the real torch.optim objects;
- hand loop: the plain loop that anybody would write.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.settings import Setting
from workers.anatomy import anatomy_of
from workers.batches import Batches
from workers.messages import Admission
from workers.population import Population
from workers.process_environment import prepare
from workers.recipe import Recipe
from workers.row_layout import plain_formulas
from workers.row_program import RowProgram
from workers.row_trace import graph_of
from workers.solo import SoloTrial
from workers.stacked_model import StackedModel
from workers.tasks.classification import Classification
from workers.tasks.registry import make_task, task_data
from workers.tasks.task import Data, Task

_aten = torch.ops.aten
PRODUCTS = (_aten.bmm.default, _aten.convolution.default, _aten.convolution_backward.default)
ARGUMENTS = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
EPOCHS = 10_000  # more than are trained


class WideMLP(Classification):
    """MLP 784-256-10 on random inputs: arithmetic weighs more than what surrounds it."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))

    def data(self) -> Data:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(3072, 784, generator=generator)
        targets = torch.randint(10, (3072,), generator=generator)
        return Data(
            train_inputs=inputs[:2560],
            train_targets=targets[:2560],
            validation_inputs=inputs[2560:],
            validation_targets=targets[2560:],
        )


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    batch_size: int
    updates: int  # of an epoch, at most; evaluation is cut alike
    arguments: tuple[tuple[str, Any], ...] = ()

    def recipe(self) -> Recipe:
        task: Task = WideMLP() if self.name == "wide-mlp" else make_task(self.name, self.arguments)
        data = task.data() if self.name == "wide-mlp" else task_data(self.name, self.arguments)
        updates = min(self.updates, data.updates_per_epoch(self.batch_size))
        share = updates / data.updates_per_epoch(self.batch_size)
        validated = math.ceil(share * len(data.validation_inputs))
        few = dataclasses.replace(
            data,
            train_inputs=data.train_inputs[: updates * self.batch_size],
            train_targets=data.train_targets[: updates * self.batch_size],
            validation_inputs=data.validation_inputs[:validated],
            validation_targets=data.validation_targets[:validated],
        )
        return Recipe(task=task, data=few, epochs=EPOCHS, metric="val_loss")

    def admission(self, number: int) -> Admission:
        arguments = {**ARGUMENTS, "lr": ARGUMENTS["lr"] / (number + 1)}
        setting = Setting(optimizer="SGD", arguments=arguments, batch_size=self.batch_size)
        return Admission(number=number, seed=number, setting=setting)


WORKLOADS = (
    Workload("digits-mlp", 32, 44),
    Workload("digits-cnn", 64, 8, (("batch_norm", True),)),
    Workload("wide-mlp", 128, 8),
    Workload("chars", 32, 3),
)

Attempt = Callable[[], int]
"""Trains something; returns the trial-steps made."""


def rows(workload: Workload, width: int) -> tuple[Attempt, Population]:
    population = Population(
        workload.recipe(),
        optimizer="SGD",
        batch_size=workload.batch_size,
        width=width,
        forks=False,
        trace_after=0,
    )
    updates = workload.recipe().data.updates_per_epoch(workload.batch_size)
    for number in range(width):
        population.admit(workload.admission(number))

    def attempt() -> int:
        assert len(population.advance(range(width))) == width
        return width * updates

    return attempt, population


def solo(workload: Workload) -> Attempt:
    recipe = workload.recipe()
    trial = SoloTrial(recipe, workload.admission(0))

    def attempt() -> int:
        trial.advance()
        return recipe.data.updates_per_epoch(workload.batch_size)

    return attempt


def hand_loop(workload: Workload) -> Attempt:
    recipe = workload.recipe()
    task, data, size = recipe.task, recipe.data, workload.batch_size
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), **ARGUMENTS)
    generator = torch.Generator().manual_seed(0)

    def attempt() -> int:
        order = torch.randperm(len(data.train_inputs), generator=generator)
        updates = len(order) // size
        model.train()
        total = torch.zeros(())
        for update in range(updates):
            batch = order[update * size : (update + 1) * size]
            loss = task.loss(model(data.train_inputs[batch]), data.train_targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        model.eval()
        with torch.no_grad():
            found = task.metrics(model(data.validation_inputs), data.validation_targets)
        assert all(math.isfinite(float(value)) for value in (total, *found.values()))
        return updates

    return attempt


def arithmetic(workload: Workload, width: int) -> Attempt:
    """The products of one update of ``width`` rows, as the traced update has them."""
    recipe = workload.recipe()
    model = StackedModel(recipe, anatomy_of(recipe, workload.batch_size))
    alike = [model.initial_row(number) for number in range(width)]
    weights = torch.cat([row.weights for row in alike])
    buffers = {name: torch.cat([row.buffers[name] for row in alike]) for name in alike[0].buffers}
    updates = recipe.data.updates_per_epoch(workload.batch_size)
    places = [(number, 1) for number in range(width)]
    batches = Batches(recipe, places, updates=updates, batch_size=workload.batch_size)
    batches.load(0)
    model.begin_training()
    inputs = model.update_inputs(model.views(weights), buffers, batches.inputs, batches.targets, None)
    with plain_formulas():
        program = RowProgram(graph_of(model.losses_and_gradients, inputs).at(width), inputs)
    steps = [step for call in program.graph.calls for step in _product(program, call)]

    def attempt() -> int:
        for step in steps:
            step()
        return width

    return attempt


def _product(program: RowProgram, call: Any) -> list[Callable[[], object]]:
    if call.operation not in PRODUCTS:
        return []

    def filled(value: Any) -> Any:
        geometry = program.watched.geometries[value.index]
        assert geometry is not None
        memory = torch.empty_strided(geometry.sizes, geometry.strides, dtype=geometry.dtype)
        return memory.normal_(generator=torch.Generator().manual_seed(value.index))

    given = [filled(value) if type(value).__name__ == "Ref" else value for value in call.arguments]
    if call.operation is _aten.bmm.default:
        result: Tensor = torch.bmm(*given)
        return [lambda: torch.bmm(*given, out=result)]
    return [lambda: call.operation(*given)]


def measured(attempts: dict[str, Attempt], rounds: int) -> dict[str, float]:
    """Milliseconds of processor time for a trial-step, least of ``rounds``; twice before nobody counts."""
    best = dict.fromkeys(attempts, math.inf)
    for number in range(rounds + 2):
        for name, attempt in attempts.items():
            began, steps = process_time(), 0
            while process_time() - began < 0.05 or steps == 0:
                steps += attempt()
            if number >= 2:
                best[name] = min(best[name], (process_time() - began) / steps * 1e3)
    return best


def compared(workload: Workload, widths: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    attempts = {"solo": solo(workload), "hand": hand_loop(workload)}
    populations = {}
    for width in widths:
        attempts[f"ravine {width}"], populations[width] = rows(workload, width)
        attempts[f"arithmetic {width}"] = arithmetic(workload, width)
    found = measured(attempts, rounds)
    return [
        {
            "workload": workload.name,
            "batch_size": workload.batch_size,
            "width": width,
            "path": populations[width]._training.path,
            "arithmetic_ms": found[f"arithmetic {width}"],
            "ravine_ms": found[f"ravine {width}"],
            "solo_ms": found["solo"],
            "hand_loop_ms": found["hand"],
            "hand_loop_over_ravine": found["hand"] / found[f"ravine {width}"],
            "share_of_arithmetic": found[f"arithmetic {width}"] / found[f"ravine {width}"],
        }
        for width in widths
    ]


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--workloads", nargs="+", default=names, choices=names)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.json:
        kernels = torch.backends.cpu.get_cpu_capability()
        print(f"torch {torch.__version__}, {kernels}, one thread, ms a trial-step")
        print(
            f"{'workload':12}{'width':>6}{'path':>8}{'arithmetic':>12}{'ravine':>9}{'solo':>9}{'hand':>9}"
            f"{'hand/ravine':>13}{'arithm./ravine':>16}"
        )
    everything = []
    for workload in WORKLOADS:
        if workload.name not in given.workloads:
            continue
        for line in compared(workload, given.widths, given.rounds):
            everything.append(line)
            if not given.json:
                print(
                    f"{line['workload']:12}{line['width']:6}{line['path']:>8}{line['arithmetic_ms']:12.4f}"
                    f"{line['ravine_ms']:9.4f}{line['solo_ms']:9.4f}{line['hand_loop_ms']:9.4f}"
                    f"{line['hand_loop_over_ravine']:13.2f}{line['share_of_arithmetic']:16.2f}",
                    flush=True,
                )
    if given.json:
        print(json.dumps({"torch": torch.__version__, "threads": 1, "lines": everything}, indent=1))


if __name__ == "__main__":
    import os

    prepare(os.environ)
    main()
