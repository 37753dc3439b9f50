"""A probe: one small try of a task on the CPU, before anything is proposed.

A batch through model, loss and gradient, then the validation data's first and last part through the metrics,
as an epoch would do it; and the examples with the smallest and largest whole numbers, because a label or a
token that is out of range may be rare. What a user's code gets wrong is told in one sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from search_spaces.task_code import TaskRefused
from workers.messages import TaskArguments
from workers.recipe import Recipe
from workers.tasks.registry import make_task, task_data
from workers.tasks.task import Data, Task, augmentation_of
from workers.tasks.task_file import split_reference
from workers.tasks.user_errors import USER_ERRORS, told
from workers.tasks.user_task import all_seeded

_BROADCAST = "Using a target size"  # how PyTorch's warning of unequal shapes starts
_SEED = 0


class BatchRefused(TaskRefused):
    """The batch size is to blame, not the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A task and what of it is tried."""

    path: str  # of the user's file, or a registered name
    task: Task
    data: Data


def probe(reference: str, arguments: TaskArguments, batch_size: int) -> tuple[str, ...]:
    """Try the task with these arguments; returns the names of its metrics.

    Raises TaskRefused, and what the task's constructor raises for arguments that it refuses.
    """
    path, _ = split_reference(reference)
    task = make_task(reference, arguments)
    with all_seeded(_SEED):
        with _asked("data()", path, "training and validation examples"):
            data = task_data(reference, arguments)
        tried = _Tried(path=path, task=task, data=data)
        inputs, targets = _batch(data, batch_size)
        model, another = _model(tried), _model(tried)
        before = {
            name: buffer.clone()
            for name, buffer in another.named_buffers()
            if not is_lazy(buffer) and not buffer.isnan().any()
        }
        _train(tried, model, inputs, targets)
        _refuse_shared(model, another, before)
        model.eval()
        with torch.no_grad():
            if len(inputs) < len(data.train_inputs):
                extreme = _extremes(data.train_inputs, data.train_targets, len(inputs))
                _loss(tried, *_outputs(tried, model, *extreme))
            return _metrics(tried, model)


def _batch(data: Data, batch_size: int) -> tuple[Tensor, Tensor]:
    """The first batch of an epoch, as large as those of training."""
    if data.size.updates_per_epoch(batch_size) == 0:
        raise BatchRefused(
            f"the task has {len(data.train_inputs)} training examples: not one whole batch of {batch_size}",
            f"at most {len(data.train_inputs)}",
        )
    examples = len(data.train_inputs) if data.full_batch_updates is not None else batch_size
    # Copies: a model may write into its inputs.
    return data.train_inputs[:examples].clone(), data.train_targets[:examples].clone()


def _model(tried: _Tried) -> nn.Module:
    torch.manual_seed(_SEED)
    with _asked("model()", tried.path, "a torch.nn.Module"):
        model = tried.task.model()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise TaskRefused(
            "model() returned a model without parameters to train", "parameters with requires_grad"
        )
    devices = {parameter.device.type for parameter in model.parameters()} - {"cpu"}
    if devices:
        raise TaskRefused(
            f"model() put parameters on {', '.join(sorted(devices))}",
            "a model on the CPU",
            "it is moved to the device that trains it",
        )
    return model


def _train(tried: _Tried, model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """One update without its step: forward, loss, gradients."""
    model.train()
    outputs, targets = _outputs(tried, model, _augmented(tried, inputs), targets)
    with _OuterShapes(len(inputs)) as shapes:
        loss = _loss(tried, outputs, targets)
    if shapes.seen:
        _refuse_order_blindness(tried, outputs, targets, loss)
    independent = TaskRefused(
        "the loss does not depend on the model's parameters",
        "a loss computed from the outputs, with gradients",
        "detach(), item(), argmax(), NumPy and torch.no_grad() cut gradients off",
    )
    if not loss.requires_grad:
        raise independent
    with _asked("the gradient of the loss", tried.path, "a loss that PyTorch can differentiate"):
        loss.backward()  # type: ignore[no-untyped-call]
    if all(parameter.grad is None for parameter in model.parameters()):
        raise independent


def _refuse_shared(model: nn.Module, another: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Refuse models that train each other; ``before``: buffers of ``another`` before ``model`` trained."""
    own = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    shared = [name for name, parameter in another.named_parameters() if id(parameter) in own]
    buffers = dict(another.named_buffers())
    shared += [name for name, buffer in before.items() if not torch.equal(buffers[name], buffer)]
    if shared:
        raise TaskRefused(
            f"model() returned a model whose '{shared[0]}' is that of the one it returned before",
            "a new model at every call",
            "trials would train each other: make its layers in model(), or copy.deepcopy() what is kept",
        )


def _augmented(tried: _Tried, inputs: Tensor) -> Tensor:
    augment = augmentation_of(tried.task)
    if augment is None:
        return inputs
    wanted = "as many inputs as it was given, as a tensor"
    with _asked("augment(inputs, uniform)", tried.path, wanted, _described("inputs", inputs)):
        changed: object = augment(inputs.clone(), lambda count: torch.rand(len(inputs), count))
    if not isinstance(changed, Tensor) or changed.shape[:1] != inputs.shape[:1]:
        shown = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise TaskRefused(f"augment() returned {shown} for inputs of shape {tuple(inputs.shape)}", wanted)
    return changed


def _outputs(tried: _Tried, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Any, Tensor]:
    """What the model makes of the inputs, with the targets beside it."""
    hint = _type_hint(model, inputs, targets)
    with _asked("the model", tried.path, "a model that takes the inputs", _described("inputs", inputs), hint):
        outputs = model(inputs)
    first = _first_tensor(outputs)
    if first is None:
        raise TaskRefused(f"the model returned a value of type {type(outputs).__name__}", "a tensor")
    if first.shape[:1] != inputs.shape[:1]:
        raise TaskRefused(
            f"the model returned shape {tuple(first.shape)} for {len(inputs)} inputs of shape "
            f"{tuple(inputs.shape)}",
            f"outputs whose first dimension is the batch's {len(inputs)}",
        )
    return outputs, targets


def _loss(tried: _Tried, outputs: Any, targets: Tensor) -> Tensor:
    with _asked(
        "loss(outputs, targets)", tried.path, "outputs and targets that fit", _pair(outputs, targets)
    ):
        return tried.task.loss(outputs, targets)


class _OuterShapes(TorchFunctionMode):
    """Notes whether (batch, 1) and (batch,) are combined into (batch, batch): a slip, or an intention."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and self._batch > 1 and result.shape == (self._batch, self._batch):
            shapes = {tuple(given.shape) for given in args if isinstance(given, Tensor)}
            self.seen = self.seen or shapes == {(self._batch, 1), (self._batch,)}
        return result


def _refuse_order_blindness(tried: _Tried, outputs: Any, targets: Tensor, loss: Tensor) -> None:
    """Refuse a loss to which it is all the same which target belongs to which output."""
    with torch.no_grad():
        turned = _loss(tried, outputs, targets.flip(0))
    if not torch.equal(targets, targets.flip(0)) and torch.allclose(loss, turned, rtol=1e-4, atol=0.0):
        raise TaskRefused(
            f"loss(outputs, targets) broadcasts {_pair(outputs, targets)} against each other, so that every "
            "output is compared with every target",
            "outputs and targets of one shape",
            "outputs.squeeze(-1) drops a last dimension of 1",
        )


def _metrics(tried: _Tried, model: nn.Module) -> tuple[str, ...]:
    """Names of the metrics, from the first and the last part of the validation data and its extremes."""
    recipe = Recipe(task=tried.task, data=tried.data, epochs=1, metric="val_loss")
    parts = [(inputs, targets) for inputs, targets, _ in recipe.validation_parts()]
    if len(parts) > 1:
        whole = tried.data.validation_inputs, tried.data.validation_targets
        parts = [parts[0], parts[-1], _extremes(*whole, len(parts[0][0]))]
    names: tuple[str, ...] = ()
    for inputs, targets in parts:
        outputs, _ = _outputs(tried, model, inputs, targets)
        place = _pair(outputs, targets)
        with _asked("metrics(outputs, targets)", tried.path, "outputs and targets that fit", place):
            found: Mapping[str, Tensor] = tried.task.metrics(outputs, targets)
        names = names or tuple(found)
    return names


def _extremes(inputs: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` examples, those with the smallest and largest whole numbers among them."""
    picked = dict.fromkeys([*_extreme_rows(targets), *_extreme_rows(inputs), *range(count)])
    rows = torch.tensor(list(picked)[:count])
    return inputs[rows], targets[rows]


def _extreme_rows(examples: Tensor) -> list[int]:
    if examples.is_floating_point() or examples.is_complex() or examples.dtype == torch.bool:
        return []
    flat = examples.reshape(len(examples), -1)
    return [int(flat.amin(dim=1).argmin()), int(flat.amax(dim=1).argmax())] if flat.numel() else []


@contextmanager
def _asked(what: str, path: str, wanted: str, place: str = "", hint: str = "") -> Iterator[None]:
    """Around a user's code: what it raises, and PyTorch's warning of broadcasting, become a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=_BROADCAST, category=UserWarning)
            yield
    except TaskRefused:
        raise
    except USER_ERRORS as error:
        if isinstance(error, UserWarning) and str(error).startswith(_BROADCAST):
            raise TaskRefused(
                f"{what} would broadcast {place} against each other",
                "outputs and targets of one shape",
                "outputs.squeeze(-1) drops a last dimension of 1",
            ) from error
        said = told(error, path)
        dtypes = hint if "dtype" in said or "scalar type" in said else ""
        raise TaskRefused(
            f"{what} raised {said}" + (f", for {place}" if place else ""), wanted, dtypes
        ) from error


def _type_hint(model: nn.Module, inputs: Tensor, targets: Tensor) -> str:
    weights = next(iter(model.parameters())).dtype
    return (
        f"the model's weights are {_name(weights)}, the inputs {_name(inputs.dtype)}, the targets "
        f"{_name(targets.dtype)}; tensor.float() gives float32"
    )


def _first_tensor(outputs: object) -> Tensor | None:
    """The tensor itself, or the first one in a tuple, list or mapping of outputs."""
    if isinstance(outputs, Tensor):
        return outputs
    inner = outputs.values() if isinstance(outputs, Mapping) else outputs
    if not isinstance(outputs, (tuple, list, Mapping)):
        return None
    return next((found for part in inner if (found := _first_tensor(part)) is not None), None)  # type: ignore[attr-defined]


def _pair(outputs: object, targets: Tensor) -> str:
    first = _first_tensor(outputs)
    shown = "outputs" if first is None else _described("outputs", first)
    return f"{shown} and {_described('targets', targets)}"


def _described(what: str, tensor: Tensor) -> str:
    """``targets of shape (32,) from 0 to 10``; the type instead where it is not of whole numbers."""
    shape = f"{what} of shape {tuple(tensor.shape)}"
    if not _extreme_rows(tensor):
        return f"{shape}, {_name(tensor.dtype)}"
    return f"{shape} from {int(tensor.min())} to {int(tensor.max())}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
