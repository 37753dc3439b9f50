"""One trial by Ravine and by the plain torch loop, and in what they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from torch import Tensor

from search_spaces.settings import Setting
from tests.unit.parity_draws import EPOCHS, SCHEDULES, UPDATES, drawn
from tests.unit.parity_runs import NoisyWave, Trained, trained_solo, trained_stacked
from tests.unit.plain_schedules import Point
from tests.unit.plain_training import Optimizers, PlainTraining, train_plainly
from workers.messages import Measured

TOLERANCE = 1e-12
"""Of weights relative to the model's largest, and of losses relative to themselves. Where training is
chaotic rounding errors grow beyond it, in a plain loop as well; then :data:`AMPLIFICATION` is the rule."""

ONE_ROUNDING = 2.0**-52
AMPLIFICATION = 100.0
"""Where more than the tolerance: at most so many times what the plain loop itself ends apart from a plain
loop whose initial weights differ by one rounding."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One trial both ways."""

    setting: Setting
    seed: int
    norm: str  # of the model: layer | batch
    ours: Trained
    plain: PlainTraining

    @property
    def diverged(self) -> bool:
        """Whether the plain loop did."""
        return self.plain.diverged_at is not None

    @property
    def error(self) -> float:
        """Largest difference of the model's numbers at the end, relative to the largest of them.

        0.0 where it diverged: no weights are kept then.
        """
        return 0.0 if self.diverged else _weights_apart(self.ours.weights, self.plain.weights)

    @property
    def loss_error(self) -> float:
        """Largest relative difference of a loss or metric reported for any epoch."""
        reported = [
            {"train_loss": outcome.train_loss, **outcome.metrics}
            for outcome in self.ours.outcomes
            if isinstance(outcome, Measured)
        ]
        return _losses_apart(reported, self.plain.epochs)

    @cached_property
    def own_errors(self) -> tuple[float, float]:
        """Of weights and of losses: what one rounding of the initial weights makes of the plain loop."""
        nudged = train_plainly(
            NoisyWave(self.norm), self.setting, seed=self.seed, epochs=EPOCHS, nudge=ONE_ROUNDING
        )
        weights = 0.0 if self.diverged else _weights_apart(nudged.weights, self.plain.weights)
        return weights, _losses_apart(nudged.epochs, self.plain.epochs)

    @property
    def path_error(self) -> float:
        """Largest difference of a learning rate or momentum, of any group at any update."""
        apart = [
            abs((found or 0.0) - (wanted or 0.0))
            for ours, plain in zip(self.ours.path, self.plain.path, strict=True)
            for our_pair, plain_pair in zip(ours, plain, strict=False)
            for found, wanted in zip(our_pair, plain_pair, strict=True)
        ]
        return max(apart)

    def disagreements(self, *, exactly: bool = False) -> list[str]:
        """What is not as the plain loop has it: rates, updates and divergence exactly, as all is ``exactly``."""
        if self.ours.refusal is not None:
            return [f"refused, {self.ours.refusal}: {self.setting}"]
        found = []
        path, plain_path = self.ours.path, [point[: len(self.ours.path[0])] for point in self.plain.path]
        if path != plain_path:
            found.append(f"the path: {_first_difference(path, plain_path)}")
        if self._reports() != self._expected_reports():
            found.append(f"the reports: {self._reports()} instead of {self._expected_reports()}")
        if self._is_off(0, self.error, exactly):
            found.append(f"the weights, by {self.error:.1e}")
        if self._is_off(1, self.loss_error, exactly):
            found.append(f"the losses, by {self.loss_error:.1e}")
        return [f"{sentence}: {self.setting}" for sentence in found]

    def _is_off(self, index: int, error: float, exactly: bool) -> bool:
        if exactly:
            return error != 0.0
        if error <= TOLERANCE:
            return False
        return not error <= AMPLIFICATION * self.own_errors[index]

    def _reports(self) -> list[tuple[Any, ...]]:
        """Of each epoch: kind, update, and the rates it was made with."""
        return [
            (type(one).__name__, one.step, one.lr, getattr(one, "momentum", None), one.peak_lr)
            for one in self.ours.outcomes
        ]

    def _expected_reports(self) -> list[tuple[Any, ...]]:
        rates = [point[0] for point in self.plain.path]

        def report(kind: str, before: int, step: int) -> tuple[Any, ...]:
            lr, momentum = rates[step - 1]
            highest = max(rate for rate, _ in rates[before:step])
            return kind, step, lr, momentum if kind == "Measured" else None, highest

        steps = [(index + 1) * UPDATES for index in range(len(self.plain.epochs))]
        found = [report("Measured", step - UPDATES, step) for step in steps]
        if self.plain.diverged_at is not None:
            found.append(report("Diverged", len(steps) * UPDATES, self.plain.diverged_at))
        return found


def _weights_apart(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Parameters relative to the largest of all; running means and variances each to their own largest."""
    if {name: tensor.dtype for name, tensor in found.items()} != {n: t.dtype for n, t in wanted.items()}:
        return float("inf")
    parameters = [name for name in wanted if "running" not in name and wanted[name].is_floating_point()]
    together = {name: parameters if name in parameters else [name] for name in wanted}
    apart = []
    for name, tensor in wanted.items():
        size = max(float(wanted[other].abs().max()) for other in together[name])
        difference = float((found[name] - tensor).abs().max())
        apart.append(0.0 if difference == 0.0 else difference / size)
    return max(apart)


def _losses_apart(found: Sequence[Mapping[str, float]], wanted: Sequence[Mapping[str, float]]) -> float:
    apart = [
        abs(ours[name] - value) / abs(value)
        for ours, plain in zip(found, wanted, strict=False)
        for name, value in plain.items()
    ]
    return max(apart, default=0.0)


def _first_difference(ours: Sequence[Point], plain: Sequence[Point]) -> str:
    for update, (found, wanted) in enumerate(zip(ours, plain, strict=False), start=1):
        if found != wanted:
            return f"{found} instead of {wanted} at update {update}"
    return f"{len(ours)} updates instead of {len(plain)}"


def norm_of(two_groups: bool) -> str:
    """One group trains the model with LayerNorm, two that with BatchNorm."""
    return "batch" if two_groups else "layer"


@cache
def _population(optimizer: str, two_groups: bool, round_: int) -> tuple[list[Setting], list[Trained]]:
    """One trial of every schedule class side by side in one population."""
    settings = [drawn(schedule, optimizer, two_groups=two_groups, round_=round_) for schedule in SCHEDULES]
    return settings, _side_by_side(settings)


def _side_by_side(settings: list[Setting]) -> list[Trained]:
    seeds = [_seed_of(index) for index in range(len(settings))]
    return trained_stacked(settings, seeds, norm_of(settings[0].two_groups))


def _seed_of(index: int) -> int:
    return index % 3


def _beside_plain(setting: Setting, index: int, ours: Trained) -> Comparison:
    norm, seed = norm_of(setting.two_groups), _seed_of(index)
    plain = train_plainly(NoisyWave(norm), setting, seed=seed, epochs=EPOCHS)
    return Comparison(setting=setting, seed=seed, norm=norm, ours=ours, plain=plain)


@cache
def compared_stacked(schedule: str, optimizer: str, two_groups: bool, round_: int = 0) -> Comparison:
    """A drawn trial of both classes, trained in a population beside one of each other schedule class."""
    settings, trained = _population(optimizer, two_groups, round_)
    index = SCHEDULES.index(schedule)
    return _beside_plain(settings[index], index, trained[index])


def compared_side_by_side(settings: list[Setting]) -> list[Comparison]:
    """Trials of one optimizer class, trained in one population."""
    return [
        _beside_plain(setting, index, ours)
        for index, (setting, ours) in enumerate(zip(settings, _side_by_side(settings), strict=True))
    ]


def compared_solo(setting: Setting, optimizers: Optimizers | None = None) -> Comparison:
    """A trial of ``setting`` alone; ``optimizers``: a task's own classes."""
    norm = norm_of(setting.two_groups)
    plain = train_plainly(NoisyWave(norm), setting, seed=0, epochs=EPOCHS, optimizers=optimizers)
    ours = trained_solo(setting, 0, norm, optimizers)
    return Comparison(setting=setting, seed=0, norm=norm, ours=ours, plain=plain)
