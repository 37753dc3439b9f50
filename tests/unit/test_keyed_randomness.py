"""Masks are functions of (seed, step, layer, element), look random, and stand in for PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from workers.keyed_randomness import KeyedRandomness, random_bits, uniform_numbers, update_keys


def key_of(seed: int, update: int) -> Tensor:
    return torch.from_numpy(update_keys(seed, update, 1))[0]


def mask(seed: int = 0, update: int = 1, elements: int = 10_000, p: float = 0.3, calls: int = 1) -> Tensor:
    """Which elements the last of ``calls`` dropouts keeps."""
    with KeyedRandomness(key_of(seed, update)):
        for _ in range(calls):
            kept = functional.dropout(torch.ones(elements), p)
    return kept != 0


def test_keys_are_the_same_wherever_an_epoch_starts() -> None:
    whole = update_keys(7, 1, 100)
    assert np.array_equal(whole[40:60], update_keys(7, 41, 20))
    assert len(set(whole.tolist())) == 100
    assert not set(whole.tolist()) & set(update_keys(8, 1, 100).tolist())


def test_a_mask_depends_on_seed_step_and_layer_only() -> None:
    assert torch.equal(mask(), mask())
    for other in (mask(seed=1), mask(update=2), mask(calls=2)):
        assert not torch.equal(mask(), other)
        # Two independent masks that keep 7 of 10 agree on 0.7^2 + 0.3^2 = 0.58 of their elements.
        assert (mask() == other).float().mean().item() == pytest.approx(0.58, abs=0.03)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_the_share_kept_is_as_asked(p: float) -> None:
    shares = [mask(seed, update, p=p).float().mean().item() for seed in range(5) for update in range(1, 6)]
    # 25 masks of 10,000 elements: four standard errors.
    assert np.mean(shares) == pytest.approx(1 - p, abs=4 * (p * (1 - p) / 250_000) ** 0.5)


def test_bits_pass_simple_tests_of_randomness() -> None:
    bits = torch.stack([random_bits(key_of(3, update), 0, 4096) for update in range(1, 65)])
    ones = torch.stack([(bits >> position & 1).float().mean() for position in range(8, 31)])
    assert (ones - 0.5).abs().max() < 0.005  # 262,144 bits each: standard error 0.001
    high = (bits >= 2**30).float() - 0.5
    for lag in (1, 2, 32, 64):
        assert (high[:, lag:] * high[:, :-lag]).mean().abs() * 4 < 0.01  # neighbours in an update
    assert (high[1:] * high[:-1]).mean().abs() * 4 < 0.01  # the same element in successive updates


def test_uniform_numbers_are_uniform_and_differ_between_calls() -> None:
    uniform = uniform_numbers(key_of(0, 1), 500)
    first, second = uniform(20), uniform(20)
    assert first.shape == (500, 20)
    assert first.min() >= 0
    assert first.max() < 1
    assert first.mean().item() == pytest.approx(0.5, abs=0.012)
    assert first.var().item() == pytest.approx(1 / 12, abs=0.004)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("module", "shape", "decided"),
    [
        (nn.Dropout(0.5), (6, 5, 4), 3),
        (nn.Dropout1d(0.5), (6, 5, 4), 2),
        (nn.Dropout1d(0.5), (6, 50), 1),
        (nn.Dropout2d(0.5), (6, 5, 4, 3), 2),
        (nn.Dropout2d(0.5), (6, 5, 4), 2),
        (nn.Dropout3d(0.5), (6, 5, 4, 3, 2), 2),
        (nn.Dropout3d(0.5), (30, 4, 3, 2), 1),
    ],
    ids=str,
)
def test_channels_are_dropped_whole(module: nn.Module, shape: tuple[int, ...], decided: int) -> None:
    """Zero or doubled, and where PyTorch decides by channel, one decision for all of a channel."""
    with KeyedRandomness(key_of(0, 1)):
        out = module(torch.ones(shape))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    flat = out.reshape(*shape[:decided], -1)
    assert (flat == flat[..., :1]).all()


def test_in_place_dropout_writes_into_its_input() -> None:
    inputs = torch.ones(1000)
    with KeyedRandomness(key_of(0, 1)):
        out = functional.dropout(inputs, 0.5, inplace=True)
    assert out.data_ptr() == inputs.data_ptr()
    assert (inputs == 0).any()


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends(p: float) -> None:
    with KeyedRandomness(key_of(0, 1)) as mode:
        assert torch.equal(functional.dropout(torch.ones(100), p), torch.full((100,), 1.0 - p))
        assert torch.equal(functional.dropout(torch.ones(100), 0.5, training=False), torch.ones(100))
        with pytest.raises(ValueError, match="between 0 and 1"):
            functional.dropout(torch.ones(3), 1.5)
    assert mode.layers == (1 if p else 0)


def test_rows_under_vmap_have_the_masks_of_trials_alone() -> None:
    keys = torch.from_numpy(update_keys(5, 1, 6))

    def row(key: Tensor, inputs: Tensor) -> Tensor:
        with KeyedRandomness(key):
            return functional.dropout(functional.dropout2d(inputs, 0.5), 0.25)

    inputs = torch.randn(6, 3, 4, 5, 5)
    stacked = vmap(row)(keys, inputs)
    for index in range(6):
        assert torch.equal(stacked[index], row(keys[index], inputs[index]))


@pytest.mark.parametrize(
    ("causal", "masked"), [(False, "none"), (True, "none"), (False, "boolean"), (False, "added")]
)
def test_attention_without_dropout_is_pytorchs(causal: bool, masked: str) -> None:
    """A dropout that drops next to nothing leaves the formula of PyTorch's documentation."""
    query, key, value = (torch.randn(2, 3, 7, 8, dtype=torch.float64) for _ in range(3))
    mask = {
        "none": None,
        "boolean": torch.ones(7, 7, dtype=torch.bool).tril(),
        "added": torch.randn(7, 7, dtype=torch.float64),
    }[masked]
    expected = functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
    with KeyedRandomness(key_of(0, 1)) as mode:
        found = functional.scaled_dot_product_attention(query, key, value, mask, 1e-12, causal)
    assert mode.layers == 1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_asks_this_mode_for_its_masks(need_weights: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    inputs = torch.randn(3, 5, 8)

    def run(update: int) -> Tensor:
        with KeyedRandomness(key_of(0, update)) as mode:
            out, _ = attention(inputs, inputs, inputs, need_weights=need_weights)
        assert mode.layers == 1
        return out

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    attention.eval()
    with KeyedRandomness(key_of(0, 1)):
        found, _ = attention(inputs, inputs, inputs)
    torch.testing.assert_close(found, attention(inputs, inputs, inputs)[0])


def test_a_transformer_layer_is_keyed_all_through() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    inputs = torch.randn(3, 5, 8)
    with KeyedRandomness(key_of(0, 1)) as mode:
        first = layer(inputs)
        torch.manual_seed(1)
    assert mode.layers == 4
    with KeyedRandomness(key_of(0, 1)):
        torch.manual_seed(2)
        assert torch.equal(layer(inputs), first)
