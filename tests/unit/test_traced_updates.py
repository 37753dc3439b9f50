"""Updates as lists of PyTorch's operations: bit for bit what vmap and autograd make of the same model."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.unit.modules_for_tests import VECTORS, Task, stacked
from tests.unit.test_stacked_modules import TASKS
from tests.unit.trials_for_tests import admission, population
from workers import epoch_training, row_updates
from workers.epoch_training import EpochTraining
from workers.row_graph import CannotTrace, copied, same_at_every_width
from workers.row_outputs import writes_into
from workers.row_program import RowProgram
from workers.row_programs import RowPrograms
from workers.row_trace import graph_of, traced
from workers.row_updates import row_blocks

NEVER = 10**9

Shown = tuple[list[Any], dict[str, Tensor]]


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of every epoch trained."""
    found: list[str] = []
    train = EpochTraining.train

    def noting(self: EpochTraining, *given: Any) -> Any:
        result = train(self, *given)
        found.append(self.path)
        return result

    monkeypatch.setattr(EpochTraining, "train", noting)
    return found


def both_ways(monkeypatch: pytest.MonkeyPatch, *given: Any, **named: Any) -> tuple[Shown, Shown]:
    """What :func:`stacked` shows traced from the first update on, and never traced."""
    monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", 0)
    quick = stacked(*given, **named)
    monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", NEVER)
    return quick, stacked(*given, **named)


def assert_same_bits(quick: Shown, plain: Shown) -> None:
    assert quick[0] == plain[0]
    assert quick[1].keys() == plain[1].keys()
    for name, tensor in quick[1].items():
        assert torch.equal(tensor, plain[1][name]), name


@pytest.mark.parametrize("name", TASKS)
def test_a_traced_row_is_the_row_of_vmap(
    name: str, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    quick, plain = both_ways(monkeypatch, TASKS[name](), width=5)
    assert set(paths[: len(paths) // 2]) == {"traced"}
    assert set(paths[len(paths) // 2 :]) == {"vmap"}
    assert_same_bits(quick, plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_grad_norm": 0.05},
        {"two_groups": True, "bias_lr": 0.2},
        {"precision": "bf16"},
        {"convolutions": "unfolded"},
        {"diverging": True, "late": True},
    ],
    ids=str,
)
def test_so_it_is_with_clipping_groups_precision_and_company(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    name = (
        "BatchNorm1d, GroupNorm" if "convolutions" not in changes else "convolution, BatchNorm2d, Dropout2d"
    )
    quick, plain = both_ways(monkeypatch, TASKS[name](), **changes)
    assert "traced" in paths
    assert_same_bits(quick, plain)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad"])
def test_so_it_is_with_every_rule(optimizer: str, monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    def trained(updates_before: int) -> Shown:
        monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", updates_before)
        rows = population(width=4, optimizer=optimizer)
        for number in range(4):
            rows.admit(admission(number, optimizer=optimizer, lr=0.01 * (number + 1), seed=number))
        outcomes = [outcome for _ in range(2) for outcome in rows.advance(range(4))]
        return outcomes, rows.weights(3)

    quick = trained(0)
    assert_same_bits(quick, trained(NEVER))
    assert set(paths) == {"traced", "vmap"}


def test_rows_that_caches_do_not_hold_are_updated_some_after_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert row_blocks(torch.empty(16, 8970)) == [slice(None)]
    assert row_blocks(torch.empty(16, 203_530)) == [slice(row, row + 1) for row in range(16)]
    together = stacked(TASKS["odd sizes"](), width=7, two_groups=True)
    monkeypatch.setattr(row_updates, "_CACHED", 0)
    monkeypatch.setattr(row_updates, "_BLOCK", 1500)  # of 500 parameters
    monkeypatch.setattr(row_updates, "row_blocks", noted := Noted(row_blocks))
    assert_same_bits(stacked(TASKS["odd sizes"](), width=7, two_groups=True), together)
    assert {len(blocks) for blocks in noted.results} == {3}


class Noted:
    """A function and what it has returned."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.results: list[Any] = []

    def __call__(self, *given: Any) -> Any:
        self.results.append(self.function(*given))
        return self.results[-1]


def test_updates_are_traced_when_enough_have_been_made(
    monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", 50)  # an epoch has 44
    rows = population(width=4)
    rows.admit(admission(0, lr=0.1))
    for _ in range(3):
        rows.advance([0])
    assert paths == ["vmap", "traced", "traced"]


def layered(*given: Tensor) -> list[Tensor]:
    """Losses and gradients of rows of a linear layer with a running mean."""
    weights, running, inputs = given
    leaf = weights.detach().requires_grad_()
    running.mul_(0.9).add_(inputs.mean(1))
    losses = torch.bmm(inputs, leaf.transpose(1, 2)).tanh().square().mean((1, 2))
    return [losses.detach(), *torch.autograd.grad(losses.sum(), [leaf])]


def layers(width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(width)
    flat = torch.randn(width, 100, generator=generator)
    weights = flat[:, 3:63].view(width, 5, 12)  # rows are apart, as in a population
    return [weights, torch.zeros(width, 12), torch.randn(width, 7, 12, generator=generator)]


@pytest.mark.parametrize("width", [4, 5, 9, 16])
def test_two_widths_tell_the_operations_of_all(width: int) -> None:
    graph = graph_of(layered, layers(6))
    assert same_at_every_width(graph)
    own = traced(layered, layers(width))
    assert (graph.at(width).calls, graph.outputs) == (own.calls, own.outputs)


def test_a_program_does_what_the_function_does_again_and_again() -> None:
    graph = graph_of(layered, layers(6)).at(4)
    given = layers(4)
    alone = [copied(tensor) for tensor in given]
    program = RowProgram(graph, given)
    assert all(torch.equal(one, other) for one, other in zip(given, alone, strict=True))
    gradients = torch.full((4, 70), 7.0)
    destinations = [torch.empty(4), gradients[:, 2:62].view(4, 5, 12)]
    memory = torch.empty(program.bytes, dtype=torch.uint8)
    steps = program.bind(given, destinations, memory)
    for seed in range(3):
        inputs = torch.randn(4, 7, 12, generator=torch.Generator().manual_seed(seed))
        given[2].copy_(inputs)
        memory.random_()  # nothing may last in it
        for step in steps:
            step()
        losses, gradient = layered(*alone[:2], inputs)
        assert torch.equal(destinations[0], losses)
        assert torch.equal(destinations[1], gradient)
        assert torch.equal(given[1], alone[1])
    assert (gradients[:, :2] == 7.0).all()
    assert (gradients[:, 62:] == 7.0).all()


def test_a_function_that_changes_its_mind_is_not_traced(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def fickle(inputs: Tensor) -> list[Tensor]:
        nonlocal calls
        calls += 1
        return [inputs.sum(1) * calls]

    programs = RowPrograms(fickle, "sums")
    with caplog.at_level(logging.INFO, logger="ravine"):
        assert programs.results([torch.ones(4, 3)]) is None
        assert programs.results([torch.ones(4, 3)]) is None
    assert programs.why_not is not None
    assert [record.getMessage() for record in caplog.records] == [
        "sums of rows are not traced: its operations by themselves give other bits"
    ]


def test_numbers_that_pytorch_does_not_see_are_not_taken_for_constants() -> None:
    def outside(inputs: Tensor) -> list[Tensor]:
        return [inputs * float(inputs.numpy().mean())]

    programs = RowPrograms(outside, "products")
    assert programs.results([torch.arange(12.0).view(4, 3)]) is None
    assert programs.why_not is not None


def test_numbers_that_are_looked_at_are_not_traced() -> None:
    with pytest.raises(CannotTrace, match="looks at numbers"):
        graph_of(lambda inputs: [inputs * float(inputs.sum())], [torch.ones(4, 3)])


def test_random_numbers_of_pytorchs_generator_are_not_traced() -> None:
    with pytest.raises(CannotTrace, match="draws random numbers"):
        graph_of(lambda inputs: [inputs + torch.rand(inputs.shape)], [torch.ones(4, 3)])


def test_what_depends_on_the_width_otherwise_is_traced_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_parity(inputs: Tensor) -> list[Tensor]:
        return [inputs.sum(1) if len(inputs) % 2 else inputs.mean(1)]

    assert not same_at_every_width(graph_of(by_parity, [torch.ones(4, 3)]))
    programs = RowPrograms(by_parity, "sums")
    for width in (4, 5, 6, 4):
        inputs = torch.arange(3.0 * width).view(width, 3)
        found = programs.results([inputs])
        assert found is not None
        assert torch.equal(found[0], by_parity(inputs)[0])


def test_results_go_into_memory_that_is_there() -> None:
    aten = torch.ops.aten
    assert writes_into(aten.bmm.default, "cpu")
    assert writes_into(aten.threshold_backward.default, "cpu")
    assert not writes_into(aten.embedding.default, "cpu")  # there is a form, which calls the other and copies


def test_a_model_that_counts_its_calls_is_not_traced(
    monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    """The try of stacking refuses such a model of a user's; here it is trained as it stands."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)
            self.calls = 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            return self.layer(inputs) * (1.0 + 0.01 * self.calls)

    monkeypatch.setattr(epoch_training, "UPDATES_BEFORE_TRACING", 0)
    outcomes, _ = stacked(Task(Counting, VECTORS))
    assert len(outcomes) == 2
    assert set(paths) == {"vmap"}
