"""Settings' history: what Optuna had heard of each stored setting, worked out from its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.entries import Ended, SettingEntry, ended_as, step_at_end
from sweeps.proposals import Told
from sweeps.records import OPEN_STATES, Measurement, Proposal, TrialRow, TrialState


def metric_values(measurements: Sequence[Measurement], name: str) -> dict[int, dict[int, float]]:
    """The values of the metric ``name`` by trial, then epoch."""
    values: dict[int, dict[int, float]] = {}
    of_itself = name in ("val_loss", "train_loss")
    for measurement in measurements:
        value = float(getattr(measurement, name)) if of_itself else measurement.extra[name]
        values.setdefault(measurement.number, {})[measurement.epoch] = value
    return values


def settings_of(
    proposals: Sequence[Proposal],
    trials: Sequence[TrialRow],
    values: Mapping[int, Mapping[int, float]],
    epochs: int,
) -> list[SettingEntry]:
    """The entry of each proposal, by index; ``values`` of the sweep's metric by trial, then epoch."""
    settings = [SettingEntry(index=proposal.index, parameters=proposal.parameters) for proposal in proposals]
    of_setting: list[list[TrialRow]] = [[] for _ in proposals]
    for trial in trials:
        of_setting[trial.setting_index].append(trial)
        setting = settings[trial.setting_index]
        setting.numbers.append(trial.number)
        for epoch, value in values.get(trial.number, {}).items():
            setting.values.setdefault(epoch, {})[trial.number] = value
    for setting, its_trials in zip(settings, of_setting, strict=True):
        setting.end = _how_it_ended(setting, its_trials, epochs)
        means = (epoch for epoch in setting.values if setting.mean(epoch) is not None)
        setting.heard = max(means, default=0)
    return settings


def stored_ends(
    trials: Sequence[TrialRow], settings: Sequence[SettingEntry], steps: Mapping[int, int]
) -> dict[int, Ended]:
    """How settings ended, by index, whose trials all have; ``steps``: stored updates by trial.

    Notes the ends of trials in the others' entries too.
    """
    for trial in trials:
        if trial.state not in OPEN_STATES:
            step = step_at_end(steps.get(trial.number, 0), trial.detail)
            settings[trial.setting_index].ends[trial.number] = ended_as(trial), step
    return {
        setting.index: setting.ended()
        for setting in settings
        if setting.numbers and len(setting.ends) == len(setting.numbers)
    }


def told(proposal: Proposal, setting: SettingEntry) -> Told:
    """What Optuna had heard of a stored setting."""
    means = {epoch: setting.mean(epoch) for epoch in sorted(setting.values)}
    return Told(
        index=proposal.index,
        parameters=proposal.parameters,
        attributes=proposal.attributes,
        reports={epoch: mean for epoch, mean in means.items() if mean is not None},
        end=setting.end,
    )


def _how_it_ended(setting: SettingEntry, trials: Sequence[TrialRow], epochs: int) -> str | None:
    """What Optuna was told at the setting's end: the first of its trials to break decides."""
    broken = [trial for trial in trials if trial.state in (TrialState.diverged, TrialState.failed)]
    first = min((trial.epochs_done for trial in broken), default=None)
    if first is not None:
        states = {trial.state for trial in broken if trial.epochs_done == first}
        return "pruned" if TrialState.diverged in states else "failed"
    if any(trial.state is TrialState.pruned for trial in trials):
        return "pruned"
    return "finished" if setting.mean(epochs) is not None else None
