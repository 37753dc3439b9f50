"""What one small try of a user's task shows to be wrong, in the words of the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.ranges import Choice, Fixed, Integer, Uniform
from search_spaces.task_code import TaskRefused
from tests.unit.task_files_for_tests import GOOD, changed, task_file_in, with_method
from workers.probe import BatchRefused, probe
from workers.task_rehearsal import rehearse_task
from workers.tasks.registry import make_task, task_data

LABELS = "sides[{}] = {}\nreturn points[:200], sides[:200], points[200:], sides[200:]"
POINTS = (
    "points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))\n"
    "sides = (points.sum(dim=1) > 0).long()\n"
)


def data(rest: str) -> str:
    return with_method("data", POINTS + rest)


BAD: dict[str, tuple[str, str]] = {
    "data() raises": (data("return points[nothing]"), "data() raised line "),
    "data() raises what": (data("return points[nothing]"), "NameError: name 'nothing' is not defined"),
    "data() exits": (data("import sys\nsys.exit(0)"), "SystemExit: 0, which would end Ravine"),
    "data() is interrupted": (data("raise KeyboardInterrupt"), "KeyboardInterrupt; wants"),
    "data() gives too little": (data("return points, sides"), "data() returned a Tensor as training data"),
    "empty data": (
        data("return points[:0], sides[:0], points, sides"),
        "the training data is empty; wants at least one training example",
    ),
    "unequal lengths": (
        data("return points[:200], sides, points, sides"),
        "200 training inputs and 300 training targets",
    ),
    "model() raises": (with_method("model", "return nn.Linear(2)"), "model() raised line"),
    "model() returns nothing": (with_method("model", "nn.Linear(2, 2)"), "model() returned nothing (None)"),
    "model() returns the class": (
        with_method("model", "return nn.Linear"),
        "model() returned a value of type type; wants a torch.nn.Module",
    ),
    "nothing to train": (with_method("model", "return nn.Flatten()"), "a model without parameters to train"),
    "all frozen": (
        with_method("model", "return nn.Linear(2, 2).requires_grad_(False)"),
        "a model without parameters to train",
    ),
    "another device": (
        with_method("model", "return nn.Linear(2, 2, device='meta')"),
        "model() put parameters on meta; wants a model on the CPU",
    ),
    "model() returns what it returned before": (
        with_method(
            "model",
            "self.net = getattr(self, 'net', None) or nn.Linear(2, 2)\nreturn nn.Sequential(self.net)",
        ),
        "a model whose '0.weight' is that of the one it returned before; wants a new model at every call; "
        "trials would train each other",
    ),
    "models share what training changes": (
        with_method(
            "model",
            "self.norm = getattr(self, 'norm', None) or nn.BatchNorm1d(2).requires_grad_(False)\n"
            "return nn.Sequential(self.norm, nn.Linear(2, 2))",
        ),
        "a model whose '0.running_mean' is that of the one it returned before",
    ),
    "inputs of the wrong shape": (
        with_method("model", "return nn.Linear(3, 2)"),
        "for inputs of shape (32, 2), float32",
    ),
    "inputs of the wrong type": (
        data("return points[:200].double(), sides[:200], points[200:].double(), sides[200:]"),
        "the model's weights are float32, the inputs float64, the targets int64; tensor.float() gives float32",
    ),
    "outputs of the wrong shape": (
        with_method(
            "model", "return nn.Sequential(nn.Linear(2, 2), nn.Flatten(0), nn.Unflatten(0, (2, -1)))"
        ),
        "the model returned shape (2, 32) for 32 inputs of shape (32, 2); wants outputs whose first dimension "
        "is the batch's 32",
    ),
    "a scalar output": (
        with_method(
            "model",
            "class M(nn.Linear):\n    def forward(self, x): return super().forward(x).sum()\nreturn M(2, 2)",
        ),
        "the model returned shape () for 32 inputs",
    ),
    "no tensor": (
        with_method("model", "class M(nn.Linear):\n    def forward(self, x): return 'a'\nreturn M(2, 2)"),
        "the model returned a value of type str; wants a tensor",
    ),
    "loss() raises over shapes": (
        with_method("loss", "return nn.functional.cross_entropy(outputs, targets.unsqueeze(1))"),
        "for outputs of shape (32, 2), float32 and targets of shape (32,) from 0 to 1",
    ),
    "loss() broadcasts": (
        with_method("loss", "return nn.functional.mse_loss(outputs[:, :1], targets.float())"),
        "loss(outputs, targets) would broadcast outputs of shape (32, 2), float32 and targets of shape (32,)",
    ),
    "loss() broadcasts without a warning": (
        with_method("loss", "return ((outputs[:, :1] - targets.float()) ** 2).mean()"),
        "loss(outputs, targets) broadcasts outputs of shape (32, 2), float32 and targets of shape (32,) from 0 "
        "to 1 against each other, so that every output is compared with every target",
    ),
    "loss() of each example": (
        with_method("loss", "return nn.functional.cross_entropy(outputs, targets, reduction='none')"),
        "loss() returned a tensor of shape (32,), not a scalar; wants the mean over the batch",
    ),
    "loss() as a number": (
        with_method("loss", "return nn.functional.cross_entropy(outputs, targets).item()"),
        "loss() returned a value of type float, not a tensor",
    ),
    "loss() detached": (
        with_method("loss", "return nn.functional.cross_entropy(outputs.detach(), targets)"),
        "the loss does not depend on the model's parameters",
    ),
    "loss() of other things": (
        with_method("loss", "return torch.zeros(1, requires_grad=True).sum()"),
        "the loss does not depend on the model's parameters",
    ),
    "a loss without gradients": (
        with_method(
            "loss",
            "class F(torch.autograd.Function):\n"
            "    @staticmethod\n"
            "    def forward(context, x): return x.sum()\n"
            "    @staticmethod\n"
            "    def backward(context, gradient): raise ValueError('no way back')\n"
            "return F.apply(outputs)",
        ),
        "the gradient of the loss raised line",
    ),
    "a label out of range": (
        with_method("model", "return nn.Linear(2, 1)"),
        "Target 1 is out of bounds",
    ),
    "a rare label out of range": (
        data(LABELS.format(150, 7)),
        "Target 7 is out of bounds., for outputs of shape (32, 2), float32 and targets of shape (32,) from 0 to 7",
    ),
    "a rare negative label": (data(LABELS.format(150, -1)), "Target -1 is out of bounds"),
    "a rare label out of range in the validation data": (
        data(LABELS.format(250, 7)),
        "metrics(outputs, targets) raised line",
    ),
    "a rare label out of range in the midst of much validation data": (
        data(
            "sides = sides.repeat(8)\nsides[1500] = 7\npoints = points.repeat(8, 1)\n"
            "return points[:200], sides[:200], points[200:], sides[200:]"
        ),
        "metrics(outputs, targets) raised line",
    ),
    "a rare token out of range": (
        with_method(
            "model",
            "return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))",
            data(
                "points = torch.ones(300, 2).long()\npoints[170, 1] = 5\n"
                "return points[:200], sides[:200], points[200:], sides[200:]"
            ),
        ),
        "for inputs of shape (32, 2) from 1 to 5",
    ),
    "metrics() raises": (with_method("metrics", "return {}['a']"), "metrics(outputs, targets) raised line"),
    "metrics() is a number": (
        with_method("metrics", "return 1.0"),
        "metrics() returned a value of type float; wants a mapping of names to scalars",
    ),
    "a metric of each example": (
        with_method("metrics", "return {'hits': outputs.argmax(1) == targets}"),
        "metrics(): 'hits' is a tensor of shape (100,); wants a scalar: the mean over the examples given",
    ),
    "a metric that is text": (
        with_method("metrics", "return {'hits': 'many'}"),
        "'hits' is a value of type str",
    ),
    "a metric without a name": (
        with_method("metrics", "return {3: 1.0}"),
        "metrics() names one 3; wants names",
    ),
    "a metric MLflow refuses": (
        with_method("metrics", "return {'top@1': 1.0}"),
        "names one 'top@1'; wants names",
    ),
    "a metric of ours": (
        with_method("metrics", "return {'lr': 1.0}"),
        "names one 'lr', which Ravine measures itself; wants another name than lr",
    ),
    "augment() raises": (
        with_method("augment", "return inputs + uniform"),
        "augment(inputs, uniform) raised line",
    ),
    "augment() drops examples": (
        with_method("augment", "return inputs[1:]"),
        "augment() returned (31, 2) for inputs of shape (32, 2)",
    ),
    "augment() returns nothing": (with_method("augment", "pass"), "augment() returned NoneType for inputs"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_try_shows_to_be_wrong(kind: str, tmp_path: Path) -> None:
    text, words = BAD[kind]
    with pytest.raises(TaskRefused) as caught:
        probe(task_file_in(tmp_path, text), (), 32)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_is_that_of_the_users_file(tmp_path: Path) -> None:
    text = with_method("loss", "return outputs @ targets")
    line = text.splitlines().index("        return outputs @ targets") + 1
    with pytest.raises(TaskRefused, match=rf"raised line {line}: RuntimeError"):
        probe(task_file_in(tmp_path, text), (), 32)


GOOD_ONES: dict[str, tuple[str, tuple[str, ...]]] = {
    "as it is": (GOOD, ("val_loss", "val_accuracy")),
    "without metrics": (changed("def metrics(", "def other("), ("val_loss",)),
    "with a val_loss of its own": (
        with_method("metrics", "return {'hits': 1, 'val_loss': outputs.mean()}"),
        ("hits", "val_loss"),
    ),
    "numbers as metrics": (
        with_method("metrics", "import numpy\nreturn {'a/b': 1.5, 'c d': True, 'e': numpy.float32(2)}"),
        ("val_loss", "a/b", "c d", "e"),
    ),
    "a loss of one number in brackets": (
        with_method("loss", "return nn.functional.cross_entropy(outputs, targets).reshape(1, 1)"),
        ("val_loss", "val_accuracy"),
    ),
    "a loss that is not finite yet": (
        with_method("loss", "return nn.functional.cross_entropy(outputs, targets) * float('inf')"),
        ("val_loss", "val_accuracy"),
    ),
    "pairs compared on purpose": (
        with_method(
            "loss",
            "scores, sides = outputs[:, :1], targets.float()\n"
            "return ((scores - scores[:, 0]) - (sides[:, None] - sides)).square().mean()",
        ),
        ("val_loss", "val_accuracy"),
    ),
    "a loss that does not look at the targets": (
        with_method("loss", "return outputs.square().mean()"),
        ("val_loss", "val_accuracy"),
    ),
    "several outputs": (
        with_method(
            "loss",
            "return nn.functional.cross_entropy(outputs['logits'], targets)",
            with_method(
                "model",
                "class M(nn.Linear):\n    def forward(self, x): return {'logits': super().forward(x), 'h': x[:1]}\n"
                "return M(2, 2)",
                changed("def metrics(", "def other("),
            ),
        ),
        ("val_loss",),
    ),
    "augmented": (
        with_method("augment", "return inputs + 0.01 * uniform(2)"),
        ("val_loss", "val_accuracy"),
    ),
    "a label to ignore": (
        with_method(
            "loss",
            "return nn.functional.cross_entropy(outputs, targets, ignore_index=-100)",
            data(LABELS.format(150, -100)),
        ),
        ("val_loss", "val_accuracy"),
    ),
}


@pytest.mark.parametrize("kind", GOOD_ONES)
def test_what_is_right_shows_its_metrics(kind: str, tmp_path: Path) -> None:
    text, metrics = GOOD_ONES[kind]
    assert probe(task_file_in(tmp_path, text), (), 32) == metrics


def test_metrics_are_the_users_own_numbers(tmp_path: Path) -> None:
    task = make_task(task_file_in(tmp_path), ())
    outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    found = task.metrics(outputs, targets)
    assert found["val_accuracy"] == 0.5
    assert torch.equal(found["val_loss"], torch.nn.functional.cross_entropy(outputs, targets))


def test_a_batch_larger_than_the_data(tmp_path: Path) -> None:
    with pytest.raises(
        BatchRefused, match="200 training examples: not one whole batch of 201; wants at most 200"
    ):
        probe(task_file_in(tmp_path), (), 201)
    assert probe(task_file_in(tmp_path), (), 200)


@pytest.fixture
def _states() -> Iterator[None]:
    """Global random numbers go on as if nothing had been asked in between."""
    torch.manual_seed(5)
    np.random.seed(5)
    expected = float(torch.rand(1)), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    yield
    assert (float(torch.rand(1)), np.random.rand()) == expected


@pytest.mark.usefixtures("_states")
def test_global_random_numbers_are_seeded_for_the_user_and_left_as_found(tmp_path: Path) -> None:
    text = changed(
        "import torch\n",
        "import random\nimport numpy\nimport torch\n",
        data(
            "points = points + random.random() + numpy.random.rand() + torch.rand(1)\n"
            "return torch.utils.data.random_split(torch.utils.data.TensorDataset(points, sides), [200, 100])"
        ),
    )
    reference = task_file_in(tmp_path, text)
    probe(reference, (), 32)
    one, other = make_task(reference, ()).data(), make_task(reference, ()).data()
    assert torch.equal(one.train_inputs, other.train_inputs)


def test_initial_weights_drawn_by_numpy_follow_the_trials_seed(tmp_path: Path) -> None:
    text = changed(
        "import torch\n",
        "import numpy\nimport torch\n",
        with_method(
            "model",
            "model = nn.Linear(2, 2)\nnn.init.constant_(model.weight, numpy.random.rand())\nreturn model",
        ),
    )
    task = make_task(task_file_in(tmp_path, text), ())
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(float(task.model().weight.detach()[0, 0]))  # type: ignore[index, operator, union-attr, arg-type]
    assert values[0] == values[1] != values[2]


def test_the_ends_of_every_argument_are_tried_alone_and_in_twos(tmp_path: Path) -> None:
    text = changed(
        "        self.width = width\n",
        "        if shift == 0.5 and width == 9:\n            raise ValueError('too much at once')\n"
        "        self.width = width\n",
    )
    tried = rehearse_task(
        task_file_in(tmp_path, text),
        {"width": Integer(low=4, high=9), "shift": Uniform(low=0.0, high=0.5)},
        Choice(options=(Fixed(value=32), Fixed(value=500))),
    )
    told = {(problem.label, problem.argument): problem for problem in tried.problems}
    assert set(told) == {("batch_size", None), ("task_args", "width")}
    assert told["task_args", "width"].got == "9 is refused: too much at once"
    assert tried.metrics == ("val_loss", "val_accuracy")


def test_a_moved_argument_is_named_with_its_value(tmp_path: Path) -> None:
    reference = task_file_in(
        tmp_path, with_method("loss", "return nn.functional.cross_entropy(outputs[:, :self.width], targets)")
    )
    tried = rehearse_task(reference, {"width": Integer(low=1, high=9)}, Fixed(value=32))
    assert [(problem.label, problem.argument) for problem in tried.problems] == [("task", None)]
    tried = rehearse_task(
        reference, {"width": Choice(options=(Fixed(value=9), Fixed(value=1)))}, Fixed(value=32)
    )
    (problem,) = tried.problems
    assert (problem.label, problem.argument) == ("task_args", "width")
    assert problem.got.startswith(f"{reference}: loss(outputs, targets) raised line")
    assert problem.got.endswith("(with width=1)")


def test_metrics_that_come_only_sometimes_may_not_be_named(tmp_path: Path) -> None:
    text = with_method("metrics", "return {'always': 1.0, **({'sometimes': 2.0} if self.width > 5 else {})}")
    tried = rehearse_task(
        task_file_in(tmp_path, text),
        {"width": Choice(options=(Fixed(value=9), Fixed(value=1)))},
        Fixed(value=32),
    )
    assert (tried.metrics, tried.problems) == (("val_loss", "always"), ())


def test_a_constructor_that_refuses(tmp_path: Path) -> None:
    text = changed("        self.width = width\n", "        self.width = [8][width]\n")
    tried = rehearse_task(task_file_in(tmp_path, text), {"width": Fixed(value=3)}, Fixed(value=32))
    (problem,) = tried.problems
    assert (problem.label, problem.argument) == ("task_args", None)
    assert "is refused: line " in problem.got
    assert "IndexError: list index out of range" in problem.got


def test_data_is_read_once_for_all_batch_sizes(tmp_path: Path) -> None:
    counter = tmp_path / "reads"
    text = data(
        f"open({str(counter)!r}, 'a').write('x')\nreturn points[:200], sides[:200], points[200:], sides[200:]"
    )
    rehearse_task(task_file_in(tmp_path, text), {"width": Integer(low=4, high=9)}, Integer(low=8, high=64))
    assert counter.read_text() == "xx"


def test_a_probe_leaves_the_data_alone(tmp_path: Path) -> None:
    """Though the model writes into its inputs; and a frozen part that all models share is fine."""
    text = with_method(
        "model",
        "self.frozen = getattr(self, 'frozen', None) or nn.Linear(2, 2).requires_grad_(False)\n"
        "return nn.Sequential(nn.ReLU(inplace=True), self.frozen, nn.LazyBatchNorm1d(), nn.Linear(2, 2))",
    )
    reference = task_file_in(tmp_path, text)
    data = task_data(reference, ())
    before = data.train_inputs.clone(), data.validation_inputs.clone()
    probe(reference, (), 32)
    assert torch.equal(data.train_inputs, before[0])
    assert torch.equal(data.validation_inputs, before[1])
