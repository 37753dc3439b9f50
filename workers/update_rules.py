"""Update rules: torch.optim's formulas over rows, each row with its own coefficients.

This room is the list of them and the door to the others: :mod:`workers.update_terms` says what a rule is.
Arguments that say how PyTorch computes (``foreach``, ``fused``, ``capturable``, ``differentiable``) change
nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.adam_rules import AdamRule, NAdamRule
from workers.adaptive_rules import AdagradRule, RMSpropRule
from workers.sgd_rule import SGDRule
from workers.update_terms import Coefficients, RowNumbers, UpdateRule

__all__ = ["UPDATE_RULES", "Coefficients", "RowNumbers", "UpdateRule"]

UPDATE_RULES: Mapping[str, UpdateRule] = {
    "SGD": SGDRule(),
    "Adam": AdamRule(weight_decay=0.0, decoupled=False),
    "AdamW": AdamRule(weight_decay=0.01, decoupled=True),
    "NAdam": NAdamRule(),
    "RMSprop": RMSpropRule(),
    "Adagrad": AdagradRule(),
}
"""Rules by the torch.optim class they follow; what is not here trains solo."""
