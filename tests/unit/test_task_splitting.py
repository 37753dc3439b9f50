"""Which examples train and which validate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.tasks.splitting import split


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_every_example_is_used_once_and_every_class_trains(
    labels: list[int], share: float, seed: int
) -> None:
    classes = torch.tensor(labels)
    sizes = torch.bincount(classes)
    if sizes.max() < 2:
        with pytest.raises(ValueError, match="every class has a single example"):
            split(len(labels), validation_share=share, seed=seed, classes=classes)
        return
    training, validation = split(len(labels), validation_share=share, seed=seed, classes=classes)
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(len(labels)))
    assert training.tolist() == sorted(training.tolist())
    assert len(validation) > 0
    held_out = torch.bincount(classes[validation], minlength=len(sizes))
    for size, count in zip(sizes.tolist(), held_out.tolist(), strict=True):
        assert count <= max(size - 1, 0)
        assert abs(count - share * size) <= 1


def test_without_classes_the_share_is_of_all() -> None:
    training, validation = split(100, validation_share=0.2, seed=0)
    assert (len(training), len(validation)) == (80, 20)
    again, _ = split(100, validation_share=0.2, seed=0)
    other, _ = split(100, validation_share=0.2, seed=1)
    assert torch.equal(training, again)
    assert not torch.equal(training, other)
