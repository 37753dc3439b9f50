"""table: any CSV or Parquet file and a multi-layer perceptron, to classify or to regress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from workers.tasks.arguments import at_least, dropout_rate, validation_part
from workers.tasks.classification import accuracy
from workers.tasks.table_examples import Examples, examples_of
from workers.tasks.task import Data

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Table:
    """A column of a table from the others: classes by cross-entropy, numbers by squared error."""

    def __init__(
        self,
        path: str,
        target: str,
        kind: Literal["auto", "classify", "regress"] = "auto",
        width: int = 64,
        depth: int = 2,
        activation: Literal["relu", "gelu", "silu", "tanh"] = "relu",
        dropout: float = 0.0,
        split_seed: int = 0,
        validation_share: float = 0.2,
    ) -> None:
        """``path`` of a CSV or Parquet file; ``target``, the column to predict.

        ``kind`` auto takes text, truth values and up to 20 whole numbers that recur for classes, and
        other numbers for a quantity. ``depth`` hidden layers of ``width`` units, each with ``activation``
        and ``dropout`` behind it.
        ``validation_share`` of the rows (classes: of each class) validates, drawn by ``split_seed``.
        Raises ValueError where the file cannot be learned from.
        """
        if kind not in ("auto", "classify", "regress"):
            raise ValueError(f"kind must be auto, classify or regress, got {kind}")
        self.width = at_least("width", width, 1)
        self.depth = at_least("depth", depth, 0)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be {', '.join(ACTIVATIONS)}, got {activation}")
        self.activation = activation
        self.dropout = dropout_rate(dropout)
        self.examples: Examples = examples_of(
            path,
            target,
            kind,
            split_seed=at_least("split_seed", split_seed, 0),
            validation_share=validation_part(validation_share),
        )

    def model(self) -> nn.Module:
        """Linear layers with activation and dropout between; logits, or one standardised number."""
        layers: list[nn.Module] = []
        features = self.examples.data.train_inputs.shape[1]
        for _ in range(self.depth):
            layers += [nn.Linear(features, self.width), ACTIVATIONS[self.activation]()]
            layers.append(nn.Dropout(self.dropout))
            features = self.width
        if self.examples.classes:
            return nn.Sequential(*layers, nn.Linear(features, len(self.examples.classes)))
        return nn.Sequential(*layers, nn.Linear(features, 1), nn.Flatten(0))

    def data(self) -> Data:
        """Inputs (rows, features); targets (rows,): class numbers, or standardised numbers."""
        return self.examples.data

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats, or mean squared error in the training target's variances."""
        return cross_entropy(outputs, targets) if self.examples.classes else mse_loss(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """``val_loss`` as in training; ``val_score``: the share of right answers, or R squared.

        One name for both, as the score of scikit-learn's classifiers and regressors: a sweep file names
        its metric before the table has been looked at.
        """
        loss = self.loss(outputs, targets)
        if self.examples.classes:
            return {"val_loss": loss, "val_score": accuracy(outputs, targets)}
        return {"val_loss": loss, "val_score": 1 - loss / self.examples.validation_variance}
