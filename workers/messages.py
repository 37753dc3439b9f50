"""Messages between the runner and the workers: frozen plain values, small enough to send every round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search_spaces.ranges import Value
from search_spaces.settings import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    """When trials are scored on a cooldown: a copy that trains on while its learning rate falls to zero."""

    epochs: int  # that the copy is trained for, at least 1
    at: tuple[int, ...]  # epochs at whose end a copy is made


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """What a worker needs to know once, before its first orders."""

    task: str  # registered name, or /absolute/path/to/file.py:Name
    metric: str  # name of the metric trials are judged by
    epochs: int  # a trial's full length: horizons of schedules hang on it
    execution: str = "stacked"  # stacked | solo | loop; decided once per sweep and stored with it
    device: str = "cpu"  # cpu | cuda
    threads: int = 1  # of this worker
    precision: str = "float32"  # float32 | tf32 | bf16
    convolutions: str = "grouped"  # grouped | unfolded; rows' bits depend on it
    width: int = 64  # most rows a population trains at once
    forks: bool = True  # whether trials that begin alike share a row until their rates part
    cooldown: Cooldown | None = None  # changes no curve, and tells more of some epochs
    judged_after: tuple[int, ...] = ()  # epochs with whose outcomes it is told how far a schedule is


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A trial to take in; it starts from its initial weights."""

    number: int
    seed: int
    setting: Setting
    cools: bool = True  # whether copies of it are cooled down, where the sweep has cooldowns


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker does in one round: release, admit, then train one epoch of each trial in ``advance``."""

    lane: int
    round: int
    release: tuple[int, ...] = ()
    admit: tuple[Admission, ...] = ()
    advance: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProgress:
    """How far a trial's schedule is."""

    spent: float  # share of all learning rates, summed over the updates of the whole training, so far
    annealing: float  # by how much of itself the learning rate still falls until the last update, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One trained epoch of one trial."""

    number: int
    epoch: int  # from 1
    step: int  # updates made so far
    lr: float  # of the epoch's last update
    momentum: float | None  # of the epoch's last update; betas[0] in the Adam family; None without one
    peak_lr: float  # largest of the epoch
    train_loss: float  # mean over the epoch's updates
    grad_norm: float  # of the epoch's last update
    metrics: Mapping[str, float] = field(default_factory=dict)  # val_loss and others; what a cooldown showed
    rides_on: int | None = None  # the trial whose row was trained for both this epoch; None: its own
    cooldown_epochs: int = 0  # that a copy of its own row was trained for after this epoch
    progress: ScheduleProgress | None = None  # where the setup asks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged:
    """A trial whose epoch ended in divergence; it has left its slot."""

    number: int
    epoch: int  # the epoch that has no measurement
    step: int  # update whose loss was not finite, or the epoch's last one
    lr: float  # in force at that update
    peak_lr: float  # largest of the epoch up to that update
    grad_norm: float | None  # at that update; None where it was not finite
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A trial that could not be trained; it has left its slot."""

    number: int
    cause: str  # user_error, oom_gpu ...
    message: str
    traceback: str


Outcome = Measured | Diverged | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something about a trial that changes no outcome and that people should know."""

    number: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A worker's answer to one :class:`Orders`."""

    lane: int
    round: int
    outcomes: tuple[Outcome, ...]
    training_seconds: float  # wall time the worker spent on these orders
    notes: tuple[Note, ...] = ()


TaskArguments = tuple[tuple[str, Value], ...]
