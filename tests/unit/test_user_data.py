"""Whatever a user's ``data()`` may return comes out as the same four tensors, or is refused in a sentence."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from search_spaces.task_code import TaskRefused
from workers.tasks.shared_data import on_device, shared
from workers.tasks.task import Data
from workers.tasks.user_data import as_data

INPUTS = torch.arange(12, dtype=torch.float32).view(6, 2)
TARGETS = torch.tensor([0, 1, 0, 1, 1, 0])
FOUR = (INPUTS[:4], TARGETS[:4], INPUTS[4:], TARGETS[4:])


class Pairs(Dataset[Any]):
    """A map-style data set of whatever pairs it is given."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.pairs[index]


class Stream(IterableDataset[Any]):
    def __init__(self, pairs: list[Any]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pairs)


class Jittered(Pairs):
    """Another example each time it is asked for."""

    def __getitem__(self, index: int) -> Any:
        inputs, target = self.pairs[index]
        return inputs + torch.rand(2), target


class JitteredStream(Stream):
    def __iter__(self) -> Iterator[Any]:
        return ((inputs + torch.rand(2), target) for inputs, target in self.pairs)


class Lengthless(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return INPUTS[index], 0


PAIRS = list(zip(INPUTS, TARGETS, strict=True))
PLAIN = [(inputs.numpy(), int(target)) for inputs, target in PAIRS]
EVERYTHING = TensorDataset(INPUTS, TARGETS)

FORMS: dict[str, object] = {
    "tensors": FOUR,
    "a list of tensors": list(FOUR),
    "arrays": tuple(part.numpy() for part in FOUR),
    "arrays backwards twice": tuple(part.numpy()[::-1][::-1] for part in FOUR),
    "pairs of tensors": (FOUR[:2], FOUR[2:]),
    "tensor data sets": (TensorDataset(*FOUR[:2]), TensorDataset(*FOUR[2:])),
    "subsets": (Subset(EVERYTHING, range(4)), Subset(EVERYTHING, [4, 5])),
    "map-style data sets": (Pairs(PAIRS[:4]), Pairs(PAIRS[4:])),
    "of arrays and numbers": (Pairs(PLAIN[:4]), Pairs(PLAIN[4:])),
    "streams": (Stream(PAIRS[:4]), Stream(PLAIN[4:])),
    "lists of pairs": (PAIRS[:4], PLAIN[4:]),
    "iterators": (iter(PAIRS[:4]), (pair for pair in PLAIN[4:])),
    "with gradients": (INPUTS[:4].clone().requires_grad_(), *FOUR[1:]),
    "our own": Data(
        train_inputs=FOUR[0], train_targets=FOUR[1], validation_inputs=FOUR[2], validation_targets=FOUR[3]
    ),
}


def parts(data: Data) -> tuple[Tensor, ...]:
    return data.train_inputs, data.train_targets, data.validation_inputs, data.validation_targets


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_tensors(form: str) -> None:
    data = as_data(FORMS[form])
    for found, expected in zip(parts(data), FOUR, strict=True):
        assert torch.equal(found, expected)
        assert found.dtype == expected.dtype
        assert not found.requires_grad
        assert found.is_contiguous()


def test_numbers_have_the_types_of_default_collate() -> None:
    items = [(1.5, True), (2.5, False)]
    expected = torch.utils.data.default_collate(items)
    data = as_data((items, items))
    assert [part.dtype for part in parts(data)[:2]] == [part.dtype for part in expected]
    assert torch.equal(data.train_inputs, expected[0])


def test_updates_on_all_data_stay_so() -> None:
    data = as_data(
        Data(
            train_inputs=FOUR[0],
            train_targets=FOUR[1],
            validation_inputs=FOUR[2],
            validation_targets=FOUR[3],
            full_batch_updates=7,
        )
    )
    assert data.updates_per_epoch(1000) == 7


REFUSED: dict[str, tuple[object, str]] = {
    "nothing": (None, "data() returned nothing (None); wants four tensors"),
    "a mapping": ({"train": FOUR}, "data() returned a dict; wants four tensors"),
    "three": (FOUR[:3], "data() returned a tuple of 3"),
    "inputs and targets only": ((INPUTS, TARGETS), "data() returned a Tensor as training data"),
    "a loader": (
        (DataLoader(EVERYTHING), EVERYTHING),
        "returned a DataLoader as training data; wants the data set it reads from",
    ),
    "a string": (("train.csv", "test.csv"), "returned a str as training data"),
    "no training data": ((INPUTS[:0], TARGETS[:0], *FOUR[2:]), "the training data is empty"),
    "no validation data": ((*FOUR[:2], INPUTS[:0], TARGETS[:0]), "the validation data is empty"),
    "an empty data set": ((Pairs(PAIRS), Pairs([])), "the validation data set is empty"),
    "unequal lengths": ((FOUR[0], TARGETS, *FOUR[2:]), "4 training inputs and 6 training targets"),
    "one number": ((torch.tensor(1.0), TARGETS, *FOUR[2:]), "the training inputs are a single number"),
    "unequal shapes": (
        (Pairs([*PAIRS[:3], (torch.zeros(3), 1)]), Pairs(PAIRS)),
        "the input of example 0 is (2,), that of example 3 is (3,); wants one shape for all",
    ),
    "no pairs": ((Pairs([INPUTS[0]]), Pairs(PAIRS)), "example 0 of the training data set is a Tensor"),
    "triples": ((Pairs([(1, 2, 3)]), Pairs(PAIRS)), "example 0 of the training data set is a tuple of 3"),
    "text": (
        (Pairs([(INPUTS[0], "cat")]), Pairs(PAIRS)),
        "the target of example 0 of the training data set is a str; wants a tensor, an array or a number; "
        "give the number of its class",
    ),
    "an array of text": (
        (np.array(["a", "b"]), *FOUR[1:]),
        "the training inputs are a ndarray that torch cannot hold",
    ),
    "no length": ((Lengthless(), Pairs(PAIRS)), "the training data set a Lengthless has no length"),
    "sparse": ((FOUR[0].to_sparse(), *FOUR[1:]), "a sparse tensor; wants dense tensors"),
    "random transforms": (
        (Jittered(PAIRS), Pairs(PAIRS)),
        "example 0 of the training data set differs each time it is asked for; wants the same example every "
        "time; random transforms belong into the task's augment(inputs, uniform)",
    ),
    "a random stream": (
        (Stream(PAIRS), JitteredStream(PAIRS)),
        "example 0 of the validation data set differs",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_learned_from_is_refused(kind: str) -> None:
    given, words = REFUSED[kind]
    with pytest.raises(TaskRefused) as caught:
        as_data(given)
    assert words in str(caught.value)


def test_nan_is_the_same_example_twice() -> None:
    items = [(torch.tensor([float("nan"), 1.0]), 0)] * 2
    assert as_data((Pairs(items), Pairs(items))).train_inputs.isnan().sum() == 2


def test_equal_data_are_shared_and_let_go() -> None:
    one = shared(as_data(FOUR))
    other = shared(as_data(tuple(part.clone() for part in FOUR)))
    assert one is other
    assert shared(one) is one
    assert shared(as_data((FOUR[0] + 1, *FOUR[1:]))) is not one
    assert shared(as_data((FOUR[0].double(), *FOUR[1:]))) is not one
    assert shared(as_data((FOUR[0].view(4, 1, 2), *FOUR[1:]))) is not one
    unused = weakref.ref(shared(as_data((FOUR[0] + 17, *FOUR[1:]))))
    gc.collect()
    assert unused() is None


def test_a_device_has_one_copy() -> None:
    data = as_data(FOUR)
    assert on_device(data, "cpu") is data
    assert on_device(data, "meta") is on_device(data, "meta")
    assert on_device(data, "meta").train_inputs.device.type == "meta"
