"""chars: a small GPT that predicts the next character of Python's own standard library."""

from __future__ import annotations

import math
import sysconfig
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from workers.tasks.arguments import at_least, dropout_rate
from workers.tasks.classification import Classification
from workers.tasks.task import Data

MODULES = (
    "bisect", "heapq", "textwrap", "fractions", "statistics", "contextlib", "copy", "csv", "calendar",
    "random", "dataclasses", "configparser", "difflib", "enum", "functools", "ipaddress", "tokenize",
    "uuid", "argparse",
)  # fmt: skip
"""Modules whose text is read, in this order; each has been one file since Python 3.11."""

ALPHABET = "\n" + "".join(chr(code) for code in range(32, 127))
"""Characters in the order of their numbers: printable ASCII and the end of a line."""

TRAINING_TENTHS = 9  # of the text's examples, from its start; the rest validates


class Chars(Classification):
    """The next of 96 characters after each position of a text, cross-entropy in nats per character."""

    def __init__(
        self,
        blocks: int = 2,
        width: int = 32,
        heads: int = 4,
        context: int = 32,
        dropout: float = 0.0,
        characters: int = 65_536,
    ) -> None:
        """``blocks`` transformer blocks of ``width`` features and ``heads`` attention heads.

        ``context`` is an example's length in characters, ``characters`` how much is read of the text, and
        ``dropout`` the share dropped of embeddings, attention weights and residual branches. Raises
        ValueError where the text cannot be read or is too short.
        """
        self.blocks = at_least("blocks", blocks, 1)
        self.width = at_least("width", width, 1)
        self.heads = at_least("heads", heads, 1)
        self.context = at_least("context", context, 2)
        self.dropout = dropout_rate(dropout)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width {width} and heads {heads}")
        self.characters = at_least("characters", characters, 10 * context + 1)
        found = len(standard_library_text(characters))
        if found < characters:
            raise ValueError(
                f"characters must be at most {found}, what {len(MODULES)} modules hold; got {characters}"
            )

    def model(self) -> nn.Module:
        """A decoder with the normalisation before each branch and GPT-2's initialisation."""
        return _GPT(self.blocks, self.width, self.heads, self.context, self.dropout)

    def data(self) -> Data:
        """Inputs (examples, context), character numbers; targets are the same one character later."""
        return _data(self.characters, self.context)


class _GPT(nn.Module):
    """Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", made small."""

    def __init__(self, blocks: int, width: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(len(ALPHABET), width)
        self.position = nn.Parameter(torch.empty(context, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(ALPHABET), bias=False)
        self._initialise(blocks)

    def _initialise(self, blocks: int) -> None:
        """Deviation 0.02, and less by the root of the branches' number where a branch joins the sum."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                joins = name.endswith("out.weight")
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * blocks) if joins else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, context, characters) of the character after each of ``inputs`` (batch, context)."""
        features = self.dropout(self.token(inputs) + self.position)
        for block in self.blocks:
            features = block(features)
        return self.head(self.norm(features))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Attention, then a perceptron of four times the width, each added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _CausalAttention(width, heads, dropout)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = _Perceptron(width, dropout)

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.attention(self.attention_norm(features))
        return features + self.perceptron(self.perceptron_norm(features))  # type: ignore[no-any-return]


class _Perceptron(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        return self.dropout(self.out(nn.functional.gelu(self.hidden(features))))  # type: ignore[no-any-return]


class _CausalAttention(nn.Module):
    """Every position attends to itself and those before it (Vaswani et al., arXiv 1706.03762)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.share_dropped = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        batch, length, width = features.shape
        split = self.query_key_value(features).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.share_dropped if self.training else 0.0, is_causal=True
        )
        joined = attended.transpose(1, 2).reshape(batch, length, width)
        return self.dropout(self.out(joined))  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _data(characters: int, context: int) -> Data:
    codes = torch.tensor([ALPHABET.index(character) for character in standard_library_text(characters)])
    examples = (len(codes) - 1) // context
    used = examples * context
    inputs = codes[:used].view(examples, context)
    targets = codes[1 : used + 1].view(examples, context)
    training = examples * TRAINING_TENTHS // 10
    return Data(
        train_inputs=inputs[:training],
        train_targets=targets[:training],
        validation_inputs=inputs[training:],
        validation_targets=targets[training:],
    )


@lru_cache(maxsize=8)
def standard_library_text(characters: int) -> str:
    """The first ``characters`` of :data:`MODULES`, one after another, without what the alphabet lacks.

    Raises ValueError where this Python has its standard library not as text.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    known = frozenset(ALPHABET)
    text = ""
    for module in MODULES:
        if len(text) >= characters:
            break
        path = folder / f"{module}.py"
        try:
            source = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"chars reads Python's standard library as text, but {path} cannot be read: "
                f"{error.strerror}; use a Python whose library is not zipped"
            ) from None
        text += "".join(character for character in source if character in known)
    return text[:characters]
