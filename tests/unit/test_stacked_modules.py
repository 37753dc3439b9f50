"""What models are made of stacks: a row is what the plain loop trains, and its bits are its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.unit.modules_for_tests import (
    BATCH,
    IMAGES,
    SEQUENCES,
    VECTORS,
    WORDS,
    Task,
    alone,
    assert_equal_up_to_rounding,
    neighbour,
    recipe,
    stacked,
    subject,
)
from workers.anatomy import CannotStack, anatomy_of
from workers.population import Population


class Augmented(Task):
    """Inputs scaled and shifted at random in training."""

    def augment(self, inputs: Tensor, uniform: Callable[[int], Tensor]) -> Tensor:
        numbers = uniform(2).to(inputs.dtype)
        return inputs * (0.5 + numbers[:, :1]) + numbers[:, 1:]


class Attentive(nn.Module):
    """Attention by PyTorch's own function, with its own dropout and a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor(0.7))
        self.norm = nn.LayerNorm(4)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(inputs).chunk(3, dim=-1)
        attended = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=0.2 if self.training else 0.0, is_causal=True
        )
        return self.head(self.norm(inputs + attended * self.scale).mean(dim=1))


class PartlyUsed(nn.Module):
    """A frozen layer that starts elsewhere for every seed, a tied one, and a layer nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(6, 6)
        self.frozen.requires_grad_(False)
        self.one = nn.Linear(6, 6)
        self.other = nn.Linear(6, 6)
        self.other.weight = self.one.weight
        self.unused = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.other(self.one(self.frozen(inputs)).tanh()).tanh())


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(20, 3))


def to_one_pixel() -> nn.Module:
    """Convolution and normalisation where nothing but channels is left."""
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.MaxPool2d(4),
        nn.Conv2d(5, 7, 1),
        nn.BatchNorm2d(7),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7, 3),
    )


def odd_sizes() -> nn.Module:
    """Rows that begin anywhere in memory: products must not depend on how a matrix is aligned."""
    return nn.Sequential(nn.Linear(6, 33), nn.Tanh(), nn.Linear(33, 7), nn.Tanh(), nn.Linear(7, 3))


def words() -> nn.Module:
    return nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(20, 3))


def padded_words() -> nn.Module:
    """Word 0 is padding: its vector stays as it is, and each word's gradient is shared by its uses."""
    return nn.Sequential(
        nn.Embedding(7, 4, padding_idx=-7, scale_grad_by_freq=True, max_norm=1.5),
        nn.Flatten(),
        nn.Linear(20, 3),
    )


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.GroupNorm(2, 8), nn.Linear(8, 3))


TASKS: dict[str, Callable[[], Task]] = {
    "convolution, BatchNorm2d, Dropout2d": lambda: Task(convolutions, IMAGES),
    "convolution to one pixel": lambda: Task(to_one_pixel, IMAGES),
    "BatchNorm1d, GroupNorm": lambda: Task(normed, VECTORS),
    "odd sizes": lambda: Task(odd_sizes, VECTORS),
    "attention, LayerNorm": lambda: Task(Attentive, SEQUENCES),
    "transformer encoder": lambda: Task(encoder, SEQUENCES),
    "embedding, Dropout": lambda: Task(words, WORDS),
    "embedding, padding": lambda: Task(padded_words, WORDS),
    "frozen, tied and unused parameters": lambda: Task(PartlyUsed, VECTORS),
    "augmentation": lambda: Augmented(lambda: nn.Linear(6, 3), VECTORS),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_row_is_what_the_plain_loop_trains(name: str) -> None:
    """Weights, running statistics and losses, dropout masks included: float64, two epochs."""
    made = TASKS[name]()
    assert_equal_up_to_rounding(made, 1e-5 if made.data().train_inputs.dtype is torch.int64 else 1e-8)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("width", "slot", "late", "diverging"), [(4, 0, False, False), (9, 8, True, False), (16, 5, True, True)]
)
def test_a_rows_bits_are_its_own(name: str, width: int, slot: int, late: bool, diverging: bool) -> None:
    task = TASKS[name]()
    single = Task(task._make, task._inputs, double=False) if type(task) is Task else task
    expected, expected_weights = stacked(single)
    outcomes, weights = stacked(single, width=width, slot=slot, late=late, diverging=diverging)
    assert outcomes == expected
    assert all(torch.equal(weights[key], expected_weights[key]) for key in expected_weights)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_grad_norm": 0.05},
        {"clip_grad_norm": 1e6},
        {"two_groups": True},
        {"two_groups": True, "bias_lr": 0.3},
        {"two_groups": True, "bias_lr": 0.3, "clip_grad_norm": 0.1},
    ],
    ids=str,
)
def test_clipping_and_two_groups_are_pytorchs(changes: dict[str, Any]) -> None:
    """clip_grad_norm_ and parameter groups; the neighbours are not clipped."""
    assert_equal_up_to_rounding(TASKS["BatchNorm1d, GroupNorm"](), **changes)


def test_what_clipping_and_groups_change() -> None:
    """The comparisons above would pass if the plain loop ignored them too."""
    task = TASKS["BatchNorm1d, GroupNorm"]()
    plain = alone(task)[0][-1].train_loss
    for changes in ({"clip_grad_norm": 0.05}, {"two_groups": True}, {"two_groups": True, "bias_lr": 0.3}):
        assert alone(task, **changes)[0][-1].train_loss != plain


def test_a_clipped_neighbour_changes_no_bit() -> None:
    task = TASKS["convolution, BatchNorm2d, Dropout2d"]()

    def trained(clip_grad_norm: float | None) -> dict[str, Tensor]:
        rows = Population(recipe(task), optimizer="SGD", batch_size=BATCH, width=4)
        rows.admit(subject())
        rows.admit(neighbour(1, clip_grad_norm=clip_grad_norm))
        rows.advance([3, 91])
        return rows.weights(3)

    clipped, plain = trained(0.01), trained(None)
    assert all(torch.equal(clipped[name], plain[name]) for name in plain)


def test_biases_and_norms_take_no_weight_decay() -> None:
    """With no gradient to speak of, weights shrink by lr * decay a step and the second group stays."""
    task = Task(normed, VECTORS)
    rows = Population(recipe(task), optimizer="SGD", batch_size=BATCH, width=4, two_groups=True)
    rows.admit(
        subject(lr=1e-3, momentum=0.0, nesterov=False, weight_decay=1.0, two_groups=True, bias_lr=1e-30)
    )
    before = rows.weights(3)
    rows.advance([3])
    after = rows.weights(3)
    for name in ("0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.bias"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-12, atol=1e-25)
    shrunk = after["0.weight"].norm() / before["0.weight"].norm()
    assert shrunk.item() == pytest.approx((1 - 1e-3) ** 4, rel=2e-3)


def test_bf16_is_what_autocast_makes_of_the_plain_loop() -> None:
    """Two epochs in eight bits of precision, at a rate that keeps the rounding small."""
    task, gentle = Task(odd_sizes, VECTORS, double=False), {"lr": 0.01, "momentum": 0.5}
    assert_equal_up_to_rounding(task, 0.02, precision="bf16", **gentle)
    full, half = alone(task, **gentle)[0][-1], alone(task, "bf16", **gentle)[0][-1]
    assert full.train_loss != half.train_loss
    assert stacked(task, precision="bf16", width=9, slot=8)[0] == stacked(task, precision="bf16")[0]


def test_anatomy() -> None:
    task = TASKS["frozen, tied and unused parameters"]()
    found = anatomy_of(recipe(task), BATCH)
    assert list(found.trained) == ["one.weight", "one.bias", "other.bias", "head.weight", "head.bias"]
    assert set(found.stacked) == {"frozen.weight", "frozen.bias", "unused.weight", "unused.bias"}
    assert not found.draws_masks
    attentive = TASKS["attention, LayerNorm"]()
    taken_apart = anatomy_of(recipe(attentive), BATCH, two_groups=True)
    assert taken_apart.stacked == ()  # its buffer is the same for every trial and never changes
    assert taken_apart.draws_masks
    assert taken_apart.weights == 4 * 12 + 4 * 3
    assert taken_apart.size - taken_apart.weights == 12 + 3 + 4 + 4
    batch_norm = TASKS["convolution, BatchNorm2d, Dropout2d"]()
    assert set(anatomy_of(recipe(batch_norm), BATCH).stacked) == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }


def test_a_buffer_that_is_drawn_is_each_trials_own() -> None:
    """Though seeds 0 and 1 draw the same."""

    def signed() -> nn.Module:
        model = nn.Sequential(nn.Linear(6, 3))
        model.register_buffer("sign", torch.tensor(1.0 if torch.initial_seed() < 2 else -1.0))
        model.register_forward_hook(lambda module, _, outputs: outputs * module.sign)
        return model

    assert anatomy_of(recipe(Task(signed, VECTORS)), BATCH).stacked == ("sign",)


@pytest.mark.parametrize(
    ("dtypes", "words"),
    [
        ((torch.float32, torch.float64), "of several types, float32 and float64"),
        ((torch.complex64, torch.complex64), "complex64, and what stacks is real"),
    ],
)
def test_parameters_that_no_row_can_hold_are_refused(dtypes: tuple[torch.dtype, ...], words: str) -> None:
    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Parameter(torch.ones(6, 3, dtype=dtype)) for dtype in dtypes)

        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs.to(self.one.dtype) @ self.one + inputs.to(self.two.dtype) @ self.two).abs()

    with pytest.raises(CannotStack, match=words):
        anatomy_of(recipe(Task(Typed, VECTORS, double=False)), BATCH)


def test_two_groups_of_a_model_without_biases_are_refused() -> None:
    task = Task(lambda: nn.Linear(6, 3, bias=False), VECTORS)
    with pytest.raises(ValueError, match="no biases and norms"):
        anatomy_of(recipe(task), BATCH, two_groups=True)


def test_a_model_that_is_not_trained_at_all_is_refused() -> None:
    def frozen() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 3).requires_grad_(False), Doubled())

    class Doubled(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs * 2).requires_grad_()

    task = Task(frozen, VECTORS)
    with pytest.raises(ValueError, match="does not depend on any parameter"):
        anatomy_of(recipe(task), BATCH)


def test_training_leaves_pytorchs_generator_and_the_task_alone() -> None:
    task = TASKS["embedding, Dropout"]()
    before = copy.deepcopy(task.data().train_inputs)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    stacked(task)
    alone(task)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(task.data().train_inputs, before)


def test_taking_a_model_apart_leaves_the_data_alone() -> None:
    shared = recipe(Task(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3)), VECTORS.clone()))
    before = shared.data.train_inputs.clone(), shared.data.validation_inputs.clone()
    anatomy_of(shared, BATCH)
    assert torch.equal(shared.data.train_inputs, before[0])
    assert torch.equal(shared.data.validation_inputs, before[1])
