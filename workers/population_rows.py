"""Population rows: what a population knows of each row, beside its tensors, and the names of those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from workers.epoch_training import RowEpoch, TrainedRows
from workers.messages import Admission, Measured
from workers.outcomes import EpochNumbers
from workers.schedule_table import GroupRates, SchedulePath
from workers.stacked_model import Rows


@dataclass(frozen=True, slots=True)
class Rider:
    """One trial on a row."""

    trial: Admission
    path: SchedulePath


@dataclass(slots=True, kw_only=True)
class Row:
    """Trials that have trained alike so far, in one slot."""

    riders: list[Rider]  # by number
    memories: tuple[Mapping[str, float], ...]  # what the rule carries on, by parameter group
    epochs_done: int = 0
    first_loss: float = 0.0

    @property
    def owner(self) -> int:
        """The trial that the row is trained for; the others ride on it."""
        return self.riders[0].trial.number


@dataclass(frozen=True, slots=True)
class Turn:
    """A row and the epoch that it trains next."""

    slot: int
    row: Row
    epoch: RowEpoch


@dataclass(frozen=True, slots=True)
class Trained:
    """A turn that has been trained, and what it showed."""

    turn: Turn
    outcome: Measured


def epoch_of(row: Row, rates: tuple[GroupRates, ...]) -> RowEpoch:
    """The next epoch of ``row``, with these rates."""
    trial = row.riders[0].trial
    return RowEpoch(
        seed=trial.seed,
        epoch=row.epochs_done + 1,
        arguments=trial.setting.arguments,
        clip_grad_norm=trial.setting.clip_grad_norm,
        rates=rates,
        memories=row.memories,
    )


def numbers_of(row: Row, epoch: RowEpoch, trained: TrainedRows, index: int) -> EpochNumbers:
    """What ``epoch`` showed of ``row``, which is the one at ``index`` among those trained."""
    losses, (lr, momentum) = trained.losses[index], epoch.rates[0]
    return EpochNumbers(
        number=row.owner,
        epoch=epoch.epoch,
        updates_before=(epoch.epoch - 1) * len(losses),
        first_loss=losses[0] if epoch.epoch == 1 else row.first_loss,
        losses=losses,
        grad_norms=trained.grad_norms[index],
        lr=lr,
        momentum=momentum,
        metrics={name: values[index] for name, values in trained.metrics.items()},
    )


def tensors_of(rows: Rows, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows and their optimizer's state as a bank keeps them."""
    return {
        "weights": rows.weights.detach(),
        **{f"buffer.{name}": buffer for name, buffer in rows.buffers.items()},
        **{f"state.{name}": buffer for name, buffer in state.items()},
    }


def rows_of(tensors: Mapping[str, Tensor]) -> Rows:
    """The rows among what a bank gives."""
    buffers = {
        name.removeprefix("buffer."): tensor for name, tensor in tensors.items() if name.startswith("buffer.")
    }
    return Rows(tensors["weights"], buffers)
