"""Loops: trials that train by a training loop of the user's own, with a population's verbs.

The loop is a generator, resumed once an epoch. Several take turns in one process: each epoch starts from
random numbers that are a function of (seed, epoch), and what is global is put back after it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from search_spaces.task_code import TaskRefused
from workers.loop_setting import LoopSetting, Shown, optimizers_of
from workers.messages import Admission, Diverged, Measured, Note, TaskArguments, WorkerSetup
from workers.one_by_one import OneByOne
from workers.optimization import optimizer_class, takes_metric
from workers.outcomes import divergence
from workers.randomness import epoch_seed
from workers.tasks.registry import make_loop, task_class
from workers.tasks.user_errors import named
from workers.tasks.user_loop import TOLD_BESIDE, numbers_of, refuse_missing
from workers.tasks.user_task import all_seeded

_NOT_COOLED = (
    "a training loop of one's own cannot be copied in its course, so there are no cooldowns; "
    "its trials are judged by what they show without"
)


class LoopTrial:
    """One trial and its loop."""

    def __init__(self, setup: WorkerSetup, arguments: TaskArguments, trial: Admission) -> None:
        """Make an object of the user's class; nothing of its loop runs yet. Raises what the class raises."""
        known = task_class(setup.task)
        self.number = trial.number
        self.epochs_done = 0
        self._epochs = setup.epochs
        self._metric = setup.metric
        self._trial = trial
        self._setting = LoopSetting(
            trial.setting,
            seed=trial.seed,
            epochs=setup.epochs,
            device=setup.device,
            functions=known.functions,
            optimizers=known.optimizers,
        )
        self._known = known
        self._declared = known.metrics
        self._generator = make_loop(setup.task, arguments).start(self._setting, trial.seed)
        self._names: tuple[str, ...] = ()  # of the metrics yielded in the first epoch
        self._first_loss = 0.0

    def advance(self) -> Measured | Diverged:
        """Train one epoch. Raises TaskRefused, and what the user's loop raises."""
        epoch = self.epochs_done + 1
        yielded = self._next(epoch)
        try:
            outcome = self._judged(epoch, numbers_of(yielded))
        except TaskRefused as error:
            raise TaskRefused(f"{self._place()}{error.got}", error.wanted, error.hint) from error
        self.epochs_done = epoch
        if isinstance(outcome, Measured):
            for optimizer in optimizers_of(self._setting):
                optimizer.end_epoch({"train_loss": outcome.train_loss, **outcome.metrics})
        return outcome

    def close(self) -> None:
        """End the loop where it stands: its ``finally`` and ``with`` blocks run. Raises what they raise."""
        with all_seeded(epoch_seed(self._trial.seed, self.epochs_done)):
            self._generator.close()

    def _next(self, epoch: int) -> object:
        try:
            with _apart(epoch_seed(self._trial.seed, epoch)):
                return next(self._generator)
        except StopIteration as error:
            raise TaskRefused(
                f"train() ended after {self.epochs_done} of {self._epochs} epochs",
                "a yield for each of setting.epochs; giving up early is the sweep file's pruner's",
            ) from error
        except SystemExit as error:
            # Lightning's Trainer turns an interruption into an exit.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise

    def _place(self) -> str:
        """``line 12: ``, where the loop has yielded."""
        frame = self._generator.gi_frame
        return "" if frame is None else f"line {frame.f_lineno}: "

    def _judged(self, epoch: int, numbers: dict[str, float]) -> Measured | Diverged:
        self._refuse_wrong_names(epoch, numbers)
        shown = self._shown(epoch, numbers)
        train_loss = numbers["train_loss"]
        if epoch == 1:
            self._first_loss = train_loss
        reason = divergence(numbers, self._first_loss, self._metric)
        if reason is not None:
            return Diverged(
                number=self.number,
                epoch=epoch,
                step=shown.step,
                lr=shown.lr,
                peak_lr=shown.peak_lr,
                grad_norm=shown.grad_norm if math.isfinite(shown.grad_norm) else None,
                reason=reason,
            )
        return Measured(
            number=self.number,
            epoch=epoch,
            step=shown.step,
            lr=shown.lr,
            momentum=shown.momentum,
            peak_lr=shown.peak_lr,
            train_loss=train_loss,
            grad_norm=shown.grad_norm,
            metrics={name: numbers[name] for name in self._names},
        )

    def _refuse_wrong_names(self, epoch: int, numbers: Mapping[str, float]) -> None:
        schedule = self._trial.setting.schedule
        wanted = {
            "train_loss": "the epoch's mean training loss",
            "val_loss": "the loss on what is not trained on",
        }
        wanted.setdefault(self._metric, "the sweep's metric")
        if takes_metric(schedule):
            wanted.setdefault(schedule.watch or "val_loss", f"which {schedule.name} watches")
        refuse_missing(numbers, wanted)
        names = tuple(name for name in numbers if name not in ("train_loss", *TOLD_BESIDE))
        expected = self._declared or self._names or names
        if set(names) != set(expected):
            odd = sorted(set(names) ^ set(expected))[0]
            by = "the class's 'metrics'" if self._declared else "epoch 1"
            said = f"'{odd}', which {by} has not" if odd in names else f"no '{odd}', which {by} has"
            raise TaskRefused(
                f"train() yielded {said}, in epoch {epoch}", f"{', '.join(expected)} in every epoch"
            )
        self._names = expected

    def _shown(self, epoch: int, numbers: Mapping[str, float]) -> Shown:
        """What the updates showed: told by our optimizers' hooks, else by the loop, else by the setting."""
        shown = [optimizer.shown(epoch) for optimizer in optimizers_of(self._setting)]
        if shown:
            return shown[0]
        step, lr, momentum = numbers.get("step", float(epoch)), numbers.get("lr"), numbers.get("momentum")
        for name, number in (("step", step), ("lr", lr), ("momentum", momentum)):
            if number is not None and not math.isfinite(number):
                raise TaskRefused(f"train() yielded '{name}': {number}", "a finite number")
        if step != round(step):
            raise TaskRefused(f"train() yielded 'step': {step}", "the updates made so far, a whole number")
        if lr is None:
            lr = self._constant_rate()
        return Shown(
            step=round(step),
            lr=lr,
            momentum=self._constant("momentum") if momentum is None else momentum,
            peak_lr=lr,
            grad_norm=numbers.get("grad_norm", math.nan),
        )

    def _constant_rate(self) -> float:
        setting = self._trial.setting
        lr = self._constant("lr")
        if setting.schedule.name != "constant" or setting.warmup_epochs or lr is None:
            what = "warm-up" if setting.schedule.name == "constant" else f"schedule {setting.schedule.name}"
            raise TaskRefused(
                f"the sweep's {what} changes the learning rate, and train() does not say to what",
                "an optimizer of setting.torch_optimizer(), or the epoch's last 'lr' among what is yielded",
            )
        return lr

    def _constant(self, name: str) -> float | None:
        """The optimizer's own number: as drawn, or PyTorch's default where no schedule may set it."""
        setting = self._trial.setting
        if name in setting.arguments or setting.schedule.name != "constant":
            return _float(setting.arguments.get(name))
        kind = optimizer_class(setting.optimizer, self._known.optimizers)
        numbers = {
            **{key: parameter.default for key, parameter in inspect.signature(kind).parameters.items()},
            **setting.arguments,
        }
        if name == "momentum" and "betas" in numbers:
            return _float(numbers["betas"][0])
        return _float(numbers.get(name))


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


class LoopTrials(OneByOne[LoopTrial]):
    """The trials of one worker that train by their own loops; a loop starts when it is first advanced."""

    def __init__(self, setup: WorkerSetup, arguments: TaskArguments) -> None:
        """No trial yet."""
        super().__init__(lambda trial: LoopTrial(setup, arguments, trial), setup.epochs)
        self._cools = setup.cooldown is not None

    def admit(self, trial: Admission) -> None:
        """Take ``trial`` in; the first one brings a note where the sweep asks for cooldowns."""
        if self._cools:
            self._cools = False
            self._notes.append(Note(number=trial.number, sentence=_NOT_COOLED))
        super().admit(trial)

    def release(self, number: int) -> None:
        """Let trial ``number`` go; what its loop raises at its end is a note."""
        trial = self._trials[number]
        super().release(number)
        try:
            trial.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own finally blocks
            self._notes.append(
                Note(number=number, sentence=f"its loop, when it was closed, raised {named(error)}")
            )

    def close(self) -> None:
        """Let every trial go."""
        for number in list(self._trials):
            self.release(number)


@contextmanager
def _apart(seed: int) -> Iterator[None]:
    """Around a stretch of a user's loop: random numbers from ``seed``, then everything global as before.

    Raises TaskRefused where it ends inside a mode of PyTorch's, which would be everybody's.
    """
    before = _modes()
    with all_seeded(seed):
        try:
            yield
        finally:
            after = _modes()
            torch.set_grad_enabled(before["torch.no_grad()"])
    for mode, value in after.items():
        if value != before[mode]:
            raise TaskRefused(f"train() yielded inside {mode}", "the yield after that block")


def _modes() -> dict[str, bool]:
    return {
        "torch.inference_mode()": torch.is_inference_mode_enabled(),
        "torch.no_grad()": torch.is_grad_enabled(),
        "torch.autocast()": torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"),
    }
