"""Whatever a user's ``data()`` returns, as our :class:`Data`: tensors, arrays or torch data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from search_spaces.task_code import TaskRefused
from workers.tasks.task import Data

ASKED_TWICE = 64  # examples of a data set that are asked for again, to see whether they are the same
_SIDES = ("training", "validation")
_WANTED = (
    "four tensors (training inputs, training targets, validation inputs, validation targets) or two data "
    "sets (training, validation) of (input, target) pairs"
)
_RANDOM_HINT = (
    "random transforms belong into the task's augment(inputs, uniform), which changes whole batches in "
    "training only"
)

_Examples = tuple[Tensor, Tensor]


def as_data(given: object) -> Data:
    """The examples that ``data()`` returned as ``given``. Raises TaskRefused."""
    if isinstance(given, Data):
        pairs = [
            (given.train_inputs, given.train_targets),
            (given.validation_inputs, given.validation_targets),
        ]
        return _checked(pairs, given.full_batch_updates)
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 4):
        raise TaskRefused(f"data() returned {_described(given)}", _WANTED)
    if len(given) == 4:
        names = [f"the {side} {what}" for side in _SIDES for what in ("inputs", "targets")]
        parts = [_tensor(part, name) for part, name in zip(given, names, strict=True)]
        return _checked([(parts[0], parts[1]), (parts[2], parts[3])], None)
    return _checked([_examples(part, side) for part, side in zip(given, _SIDES, strict=True)], None)


def _checked(pairs: Sequence[_Examples], full_batch_updates: int | None) -> Data:
    """Data of equally many inputs and targets, and of at least one example a side."""
    for side, (inputs, targets) in zip(_SIDES, pairs, strict=True):
        for what, part in (("inputs", inputs), ("targets", targets)):
            if part.dim() == 0:
                raise TaskRefused(
                    f"data(): the {side} {what} are a single number",
                    "tensors whose first dimension counts examples",
                )
        if len(inputs) != len(targets):
            raise TaskRefused(
                f"data(): {len(inputs)} {side} inputs and {len(targets)} {side} targets",
                "a target for every input",
            )
        if len(inputs) == 0:
            raise TaskRefused(f"data(): the {side} data is empty", f"at least one {side} example")
    plain = [_plain(part) for pair in pairs for part in pair]
    return Data(
        train_inputs=plain[0],
        train_targets=plain[1],
        validation_inputs=plain[2],
        validation_targets=plain[3],
        full_batch_updates=full_batch_updates,
    )


def _plain(tensor: Tensor) -> Tensor:
    """The numbers alone: on the CPU, in one piece, without history or subclass."""
    if tensor.is_sparse or tensor.layout is not torch.strided:
        raise TaskRefused("data(): a sparse tensor", "dense tensors", "tensor.to_dense() makes one")
    return tensor.detach().as_subclass(Tensor).cpu().contiguous()


def _examples(given: Any, side: str) -> _Examples:
    """Inputs and targets of one side: a pair of tensors, or a data set that is read once."""
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(_is_array, given)):
        return _tensor(given[0], f"the {side} inputs"), _tensor(given[1], f"the {side} targets")
    if type(given) is TensorDataset and len(given.tensors) == 2:
        return given.tensors[0], given.tensors[1]
    if isinstance(given, DataLoader):
        raise TaskRefused(
            f"data() returned a DataLoader as {side} data",
            "the data set it reads from",
            "batches are formed here, of the sweep file's batch_size",
        )
    if (
        isinstance(given, (str, bytes, dict))
        or _is_array(given)
        or not (hasattr(given, "__getitem__") or isinstance(given, Iterable))
    ):
        raise TaskRefused(f"data() returned {_described(given)} as {side} data", _WANTED)
    items = list(_items(given, side))
    if not items:
        raise TaskRefused(f"data(): the {side} data set is empty", f"at least one {side} example")
    _refuse_randomness(given, items, side)
    return _stacked(items, 0, "input", side), _stacked(items, 1, "target", side)


def _is_map_style(given: object) -> bool:
    return hasattr(given, "__getitem__") and not isinstance(given, IterableDataset)


def _items(given: Any, side: str) -> Iterator[_Examples]:
    """Every example once, in order."""
    if not _is_map_style(given):
        for index, item in enumerate(given):
            yield _item(item, index, side)
        return
    if not isinstance(given, Sized):
        raise TaskRefused(
            f"data(): the {side} data set {_described(given)} has no length", "a data set with __len__"
        )
    by_index: Any = given
    for index in range(len(given)):
        yield _item(by_index[index], index, side)


def _item(item: object, index: int, side: str) -> _Examples:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise TaskRefused(
            f"data(): example {index} of the {side} data set is {_described(item)}",
            "an (input, target) pair",
        )
    place = f"of example {index} of the {side} data set"
    return _number_or_tensor(item[0], f"the input {place}"), _number_or_tensor(item[1], f"the target {place}")


def _refuse_randomness(given: Any, items: Sequence[_Examples], side: str) -> None:
    """Ask for some examples once more. An iterator that can be read only once is taken at its word."""
    if _is_map_style(given):
        step = max(1, len(items) // ASKED_TWICE)
        again = [(index, given[index]) for index in range(0, len(items), step)][:ASKED_TWICE]
    else:
        again = list(zip(range(ASKED_TWICE), given, strict=False)) if iter(given) is not given else []
    for index, item in again:
        for first, second in zip(items[index], _item(item, index, side), strict=True):
            if not _same(first, second):
                raise TaskRefused(
                    f"data(): example {index} of the {side} data set differs each time it is asked for",
                    "the same example every time",
                    _RANDOM_HINT,
                )


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit, so that NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    bits = [part.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for part in (one, other)]
    return torch.equal(bits[0], bits[1])


def _stacked(items: Sequence[_Examples], part: int, what: str, side: str) -> Tensor:
    """(examples, ...) of the ``part`` of every example."""
    tensors = [item[part] for item in items]
    for index, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise TaskRefused(
                f"data(): {side} examples of unequal shapes: the {what} of example 0 is "
                f"{_shape(tensors[0])}, that of example {index} is {_shape(tensor)}",
                "one shape for all",
                "resize, crop or pad them",
            )
    return torch.stack(tensors)


def _number_or_tensor(value: object, name: str) -> Tensor:
    """One part of an example, by the rules of torch.utils.data.default_collate."""
    if isinstance(value, (bool, int, float)):
        # default_collate's types: Python's float is float64, its int is int64.
        return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return _tensor(value, name)
    hint = ""
    if isinstance(value, str):
        hint = "give the number of its class"
    elif hasattr(value, "__array_interface__") or hasattr(value, "convert"):
        hint = "make it a tensor first, as torchvision's ToTensor does"
    raise TaskRefused(f"data(): {name} is {_described(value)}", "a tensor, an array or a number", hint)


def _is_array(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _tensor(value: object, name: str) -> Tensor:
    """``value`` as a tensor; what has ``__array__``, such as a DataFrame of numbers, counts as an array."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, (np.ndarray, np.generic, list)) and not hasattr(value, "__array__"):
        raise TaskRefused(f"data(): {name} are {_described(value)}", _WANTED)
    try:
        array = np.asarray(value)
        # A copy: torch warns of arrays that cannot be written to, and refuses negative strides.
        return torch.from_numpy(np.array(array, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskRefused(
            f"data(): {name} are {_described(value)} that torch cannot hold: {' '.join(str(error).split())}",
            "numbers or truth values",
        ) from error


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _described(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, (tuple, list)):
        return f"a {kind} of {len(value)}"
    if value is None:
        return "nothing (None)"
    article = "an" if kind[0].lower() in "aeiou" else "a"
    return f"{article} {kind}"
