"""Chart words: what a figure says about trials, in its hovers and under its title."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from dashboards.chart_axes import short
from sweeps.records import OPEN_STATES, Measurement, SweepRow, TrialRow, TrialState

_METRICS = {"val_loss": "validation loss", "train_loss": "training loss"}


def metric_name(sweep: SweepRow) -> str:
    """The sweep's metric in words."""
    spelled = sweep.metric.replace("val_", "validation ").replace("_", " ")
    return _METRICS.get(sweep.metric, escape(spelled))


def metric_value(sweep: SweepRow, shown: Measurement) -> float | None:
    """The sweep's metric at one epoch; None where the task gave none, or it is not finite."""
    own = {"val_loss": shown.val_loss, "train_loss": shown.train_loss}
    value = own.get(sweep.metric, shown.extra.get(sweep.metric))
    return value if value is not None and math.isfinite(value) else None


def peak_rate(trial: TrialRow) -> float | None:
    """The largest learning rate the trial used, or else was given; None where that is not above 0."""
    rate = trial.peak_lr if trial.peak_lr is not None else trial.lr
    return rate if rate is not None and rate > 0 else None


def peak_momenta(measurements: Iterable[Measurement]) -> dict[int, float]:
    """The largest momentum, or beta1, that each trial used, by number."""
    peaks: dict[int, float] = {}
    for shown in measurements:
        if shown.momentum is not None:
            peaks[shown.number] = max(shown.momentum, peaks.get(shown.number, shown.momentum))
    return peaks


def trial_momentum(trial: TrialRow, measured: Mapping[int, float]) -> float:
    """The trial's momentum or beta1, the largest measured where a schedule sets it, 0 where none is known."""
    if trial.momentum is not None:
        return trial.momentum
    betas = trial.setting.get("betas")
    first = betas[0] if isinstance(betas, list | tuple) else None  # null where the schedule sets it
    return measured.get(trial.number, 0.0 if first is None else first)


def hover_text(sweep: SweepRow, trial: TrialRow, momentum: float) -> str:
    """What is told of the trial under the pointer."""
    lines = [
        f"<b>trial {trial.number}</b> · {trial.state}",
        f"{escape(trial.optimizer)}, {escape(trial.schedule)}",
        f"learning rate {short(peak_rate(trial))}, momentum {short(momentum)}",
    ]
    if trial.value is not None:
        lines.append(f"{metric_name(sweep)} {short(trial.value)} at epoch {trial.epochs_done}")
    if trial.state is TrialState.diverged and trial.detail and "step" in trial.detail:
        lines.append(f"diverged at update {trial.detail['step']}")
    if trial.cause:
        lines.append(f"cause: {escape(trial.cause)}")
    return "<br>".join(lines)


def curves_subtitle(sweep: SweepRow, trials: Sequence[TrialRow], best: TrialRow | None) -> str:
    """What the curves show."""
    unseen = sum(not trial.epochs_done and trial.state not in OPEN_STATES for trial in trials)
    without = f" ({unseen} of them ended within the first epoch and have no line)" if unseen else ""
    return (
        f"One line per trial, coloured by its peak learning rate: {_counted(trials)}{without}."
        f"<br>{_best_told(sweep, best)}"
    )


def scatter_subtitle(sweep: SweepRow, trials: Sequence[TrialRow], best: TrialRow | None) -> str:
    """What the marks show."""
    goal = "highest" if sweep.goal == "maximize" else "lowest"
    return (
        f"One mark per trial, the darker the {goal[:-3]}er its {metric_name(sweep)}: {_counted(trials)}."
        f"<br>{_best_told(sweep, best)}"
    )


def _counted(trials: Sequence[TrialRow]) -> str:
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"


def _best_told(sweep: SweepRow, best: TrialRow | None) -> str:
    if best is None:
        return "No trial has finished yet."
    return (
        f"Best: trial {best.number} with {metric_name(sweep)} {short(best.value)} ({escape(best.optimizer)}, "
        f"{escape(best.schedule)}, learning rate {short(peak_rate(best))})."
    )
