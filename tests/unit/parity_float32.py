"""Losses of digits-mlp in single precision, by a population and by the plain torch loop."""

from __future__ import annotations

from search_spaces.settings import Setting
from tests.unit.plain_training import train_plainly
from tests.unit.trials_for_tests import recipe
from workers.messages import Admission, Measured
from workers.population import Population
from workers.update_rules import UPDATE_RULES

BATCH, UPDATES, EPOCHS = 57, 25, 4
UPDATES_MADE = UPDATES * EPOCHS
_RATES = {"SGD": 0.05, "Adagrad": 0.01}
_RATE = 0.001  # PyTorch's default for most of the others
_FACTORS = (0.3, 1.0, 3.0)


def float32_differences() -> list[float]:
    """Of each training, the larger relative difference of train_loss and val_loss in its last epoch."""
    return [difference for optimizer in UPDATE_RULES for difference in _differences(optimizer)]


def _differences(optimizer: str) -> list[float]:
    shared = recipe(task="digits-mlp", epochs=EPOCHS)
    rows = Population(shared, optimizer=optimizer, batch_size=BATCH, width=len(_FACTORS))
    settings = [_setting(optimizer, factor) for factor in _FACTORS]
    for number, setting in enumerate(settings):
        rows.admit(Admission(number=number, seed=number, setting=setting))
    for _ in range(EPOCHS):
        last = rows.advance(range(len(settings)))
    return [
        _difference(outcome, train_plainly(shared.task, setting, seed=number, epochs=EPOCHS).epochs[-1])
        for number, (setting, outcome) in enumerate(zip(settings, last, strict=True))
    ]


def _setting(optimizer: str, factor: float) -> Setting:
    arguments: dict[str, float] = {"lr": factor * _RATES.get(optimizer, _RATE)}
    if optimizer in ("SGD", "RMSprop"):
        arguments["momentum"] = 0.9
    return Setting(optimizer=optimizer, arguments=arguments, batch_size=BATCH)


def _difference(outcome: object, plain: dict[str, float]) -> float:
    if not isinstance(outcome, Measured) or outcome.step != UPDATES_MADE:
        raise AssertionError(f"{UPDATES_MADE} updates were to be made, and the last showed {outcome}")
    pairs = (outcome.train_loss, plain["train_loss"]), (outcome.metrics["val_loss"], plain["val_loss"])
    return max(abs(found - wanted) / wanted for found, wanted in pairs)
