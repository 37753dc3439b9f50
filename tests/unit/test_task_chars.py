"""chars: a causal GPT over the text of Python's standard library."""

from __future__ import annotations

import bisect
import math
from pathlib import Path

import pytest
import torch

from workers.randomness import initial_model
from workers.tasks import chars
from workers.tasks.chars import ALPHABET, Chars, standard_library_text


def small(**arguments: object) -> Chars:
    return Chars(**{"width": 16, "heads": 2, "context": 16, "characters": 3000, **arguments})  # type: ignore[arg-type]


def test_the_text_is_the_standard_librarys_own() -> None:
    source = Path(bisect.__file__).read_text(encoding="utf-8")
    assert standard_library_text(len(source)) == source
    assert standard_library_text(500_000) == standard_library_text(600_000)[:500_000]
    assert set(standard_library_text(600_000)) <= set(ALPHABET)


def test_targets_are_the_inputs_one_character_later() -> None:
    data = small().data()
    text = "".join(ALPHABET[code] for code in data.train_inputs.flatten())
    assert standard_library_text(3000).startswith(text)
    assert torch.equal(data.train_inputs.flatten()[1:], data.train_targets.flatten()[:-1])
    assert len(data.train_inputs) + len(data.validation_inputs) == (3000 - 1) // 16
    assert len(data.validation_inputs) == pytest.approx(0.1 * 2999 / 16, abs=1)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_a_position_sees_itself_and_those_before_it_only(blocks: int) -> None:
    model = initial_model(small(blocks=blocks), 0).eval()
    assert len(model.blocks) == blocks  # type: ignore[arg-type]
    inputs = small().data().train_inputs[:3].clone()
    before = model(inputs)
    inputs[:, 9] = (inputs[:, 9] + 1) % len(ALPHABET)
    after = model(inputs)
    assert torch.equal(before[:, :9], after[:, :9])
    assert (before[:, 9:] != after[:, 9:]).flatten(2).any(dim=2).all()


def test_an_untrained_model_knows_nothing() -> None:
    task = small()
    data = task.data()
    model = initial_model(task, 0).eval()
    loss = task.metrics(model(data.validation_inputs), data.validation_targets)["val_loss"].item()
    assert loss == pytest.approx(math.log(len(ALPHABET)), abs=0.1)


def test_branches_start_smaller_the_more_there_are() -> None:
    model = initial_model(Chars(width=64, heads=4, blocks=4), 0)
    deviations = {name: parameter.std().item() for name, parameter in model.named_parameters()}
    assert deviations["blocks.3.attention.out.weight"] == pytest.approx(0.02 / math.sqrt(8), rel=0.1)
    assert deviations["blocks.3.perceptron.hidden.weight"] == pytest.approx(0.02, rel=0.1)
    assert deviations["position"] == pytest.approx(0.02, rel=0.1)


def test_dropout_reaches_embeddings_attention_and_branches() -> None:
    model = initial_model(small(dropout=0.5), 0)
    assert sum(isinstance(part, torch.nn.Dropout) for part in model.modules()) == 1 + 2 * 2
    attention = model.blocks[0].attention  # type: ignore[index, union-attr]
    attention.dropout.p = 0.0
    features = torch.randn(2, 16, 16)
    assert not torch.equal(attention(features), attention(features))
    attention.eval()
    assert torch.equal(attention(features), attention(features))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"blocks": 0}, "blocks must be a whole number of at least 1, got 0"),
        ({"width": 10, "heads": 4}, "width must be a multiple of heads, got width 10 and heads 4"),
        ({"characters": 100}, "characters must be a whole number of at least 161, got 100"),
        ({"characters": 10**9}, "characters must be at most [0-9]+, what 19 modules hold; got 1000000000"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, got -0.1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + sentence + "$"):
        small(**arguments)


def test_a_standard_library_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chars, "MODULES", ("no_such_module",))
    standard_library_text.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"no_such_module.py cannot be read: .*not zipped$"):
            small()
    finally:
        standard_library_text.cache_clear()
