"""Warm start: what an earlier sweep has found out, taken over once, when a sweep is created.

It is stored with the new sweep, so that this one can be resumed when the earlier one has been deleted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.earlier import EarlierSetting
from search_spaces.placing import place
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from sweeps.bounded_history import BoundedHistory, rank_of
from sweeps.errors import BadInput
from sweeps.records import SweepRow, TrialRow, TrialState
from sweeps.store_reads import StoreReader

PLACE = "warm_start"  # in a sweep's spec


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What is taken over from a sweep, and what is said of it."""

    sweep_id: int
    name: str
    told: str  # "warm start from sweep 3 (name): 180 of 256 settings fit; 51 lie outside lr"
    settings: tuple[EarlierSetting, ...]

    def to_plain(self) -> dict[str, Any]:
        """As stored in the new sweep's spec."""
        return {
            "sweep": self.sweep_id,
            "name": self.name,
            "told": self.told,
            "settings": [
                {"values": dict(one.values), "finished": one.finished, "epoch": one.epoch, "value": one.value}
                for one in self.settings
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A setting of the earlier sweep, all of whose trials have ended."""

    setting: Setting
    finished: bool
    epoch: int | None
    value: float | None


def earlier_settings(spec: Mapping[str, Any]) -> tuple[EarlierSetting, ...]:
    """What a stored sweep began with, in its order; nothing where it had no warm start."""
    return tuple(EarlierSetting(**one) for one in spec.get(PLACE, {}).get("settings", ()))


def warm_start(
    store: StoreReader, space: SearchSpace, catalogue: Catalogue, task_file: Mapping[str, str] | None
) -> WarmStart | None:
    """What ``space`` takes over from the sweep that it names; None where it names none.

    ``task_file``: SHA-256 by path, where the task is a user's file. Raises UnknownSweep, and BadInput where
    the sweep's values could not be compared with those to come, or nothing of it fits.
    """
    if space.warm_start is None:
        return None
    sweep = store.find_sweep(space.warm_start)
    _refuse_incomparable(sweep, space, task_file)
    ended = list(_ended_settings(store.trials(sweep.id), sweep))
    return taken(sweep, ended, space, catalogue)


def taken(sweep: SweepRow, ended: Sequence[_Ended], space: SearchSpace, catalogue: Catalogue) -> WarmStart:
    """What fits of a sweep's ended settings, a long sweep's as samplers are shown them. Raises BadInput."""
    placed = [(one, place(space, one.setting, catalogue)) for one in ended]
    fitting = [(one, found.values) for one, found in placed if found.fits]
    outside = Counter(found.outside[0] for _, found in placed if not found.fits)
    told = f"warm start from sweep {sweep.id} ({sweep.name}): {len(fitting):,} of {len(ended):,} settings fit"
    told = "; ".join([told, ", ".join(_outside_words(outside))] if outside else [told])
    if not fitting:
        reason = told if ended else f"sweep {sweep.id} ({sweep.name}) has no settings that have ended yet"
        raise BadInput(f"warm_start: {reason}; there is nothing to start from. Leave warm_start out.")
    sign = 1.0 if space.metric.goal == "minimize" else -1.0
    history = BoundedHistory()
    for index, (one, _) in enumerate(fitting):
        last = None if one.value is None or one.epoch is None else (one.epoch, one.value)
        history.end(index, rank_of(last, finished=one.finished, sign=sign))
    shown = history.shown()
    if len(shown) < len(fitting):
        told += f"; {len(shown):,} of them are taken: the best, the newest, and some of the rest"
    return WarmStart(
        sweep_id=sweep.id,
        name=sweep.name,
        told=told,
        settings=tuple(
            EarlierSetting(values=values, finished=one.finished, epoch=one.epoch, value=one.value)
            for one, values in (fitting[index] for index in shown)
        ),
    )


def _refuse_incomparable(sweep: SweepRow, space: SearchSpace, task_file: Mapping[str, str] | None) -> None:
    """Raise BadInput with every reason why the sweep's values cannot be compared with those to come."""
    pairs = [
        (_task_words(sweep.task, sweep.spec.get("task_file")), _task_words(space.task, task_file)),
        (f"{sweep.goal} {sweep.metric}", f"{space.metric.goal} {space.metric.name}"),
        (f"{sweep.epochs} epochs", f"{space.epochs} epochs"),
    ]
    differences = [f"{theirs} there, {ours} here" for theirs, ours in pairs if theirs != ours]
    if differences:
        raise BadInput(
            f"warm_start: sweep {sweep.id} ({sweep.name}) cannot be compared with this one: "
            f"{'; '.join(differences)}. Start from a sweep that agrees, or leave warm_start out."
        )


def _task_words(task: str, files: Mapping[str, str] | None) -> str:
    """The task; of a user's file its class and what the file holds, wherever it lies."""
    if not files:
        return task
    digests = ", ".join(sorted(digest[:12] for digest in files.values()))
    return f"{task.rpartition(':')[2]} of a file with the SHA-256 {digests}"


def _ended_settings(trials: Sequence[TrialRow], sweep: SweepRow) -> Iterator[_Ended]:
    """The settings of the search that have ended, in their order; failed and cancelled ones say nothing."""
    searched = frozenset(sweep.spec.get("seeds", [trial.seed for trial in trials]))
    by_setting: dict[int, list[TrialRow]] = {}
    for trial in trials:
        if trial.seed in searched:
            by_setting.setdefault(trial.setting_index, []).append(trial)
    for _, of_setting in sorted(by_setting.items()):
        states = {trial.state for trial in of_setting}
        if not states <= {TrialState.finished, TrialState.pruned, TrialState.diverged}:
            continue
        setting = Setting.from_json(of_setting[0].setting)
        epochs = {trial.epochs_done for trial in of_setting}
        values = [trial.value for trial in of_setting if trial.value is not None]
        if TrialState.diverged in states or len(epochs) > 1 or len(values) < len(of_setting):
            yield _Ended(setting=setting, finished=False, epoch=None, value=None)
        else:
            mean = math.fsum(values) / len(values)
            finished = states == {TrialState.finished}
            yield _Ended(setting=setting, finished=finished, epoch=epochs.pop(), value=mean)


def _outside_words(outside: Mapping[str, int]) -> Iterator[str]:
    """``51 lie outside lr``, and so on, the most frequent first."""
    ranked = sorted(outside.items(), key=lambda pair: (-pair[1], pair[0]))
    for position, (name, count) in enumerate(ranked):
        if name in ("optimizer", "schedule"):
            verb, what = ("uses", "is") if count == 1 else ("use", "are")
            thing = ("an optimizer" if name == "optimizer" else "a schedule") if count == 1 else f"{name}s"
            yield f"{count:,} {verb} {thing} that {what} not searched"
        elif position == 0:
            yield f"{count:,} {'lies' if count == 1 else 'lie'} outside {name}"
        else:
            yield f"{count:,} outside {name}"
