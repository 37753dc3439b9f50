"""What a user's own sampler keeps in Optuna's study, carried from one run of the sweep to the next.

Trials' system attributes are stored with their proposals. The study's own attributes, which a sampler sets
with ``study.set_user_attr``, ride on those of the trial at which they changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage

PLACE = "ravine:study"


class StudyState:
    """The attributes of a study, as they were stored last."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        self._revision = 0  # how often they have changed
        self._known = self._now()

    def note(self, trial_id: int) -> None:
        """A sampler was at work on the trial: bring what it keeps into the form that is stored.

        So a resumed sweep, which reads it as JSON, sees what this one sees. Raises TypeError or ValueError
        where it is nothing that JSON has.
        """
        for name, value in self._storage.get_trial(trial_id).system_attrs.items():
            if name != PLACE and (kept := _plain(value)) != value:
                self._storage.set_trial_system_attr(trial_id, name, kept)
        now = self._now()
        if now == self._known:
            return
        self._revision += 1
        self._put(_plain(now))
        state: dict[str, Any] = {"revision": self._revision, **self._known}
        self._storage.set_trial_system_attr(trial_id, PLACE, state)

    def restore(self, attributes: Mapping[str, Any]) -> None:
        """A stored trial's attributes: the study's among them count where they are newer."""
        state = attributes.get(PLACE)
        if state is not None and state["revision"] > self._revision:
            self._revision = state["revision"]
            self._put({"user": state["user"], "system": state["system"]})

    def _now(self) -> dict[str, dict[str, Any]]:
        return {
            "user": self._storage.get_study_user_attrs(self._study_id),
            "system": self._storage.get_study_system_attrs(self._study_id),
        }

    def _put(self, state: dict[str, dict[str, Any]]) -> None:
        for name, value in state["user"].items():
            self._storage.set_study_user_attr(self._study_id, name, value)
        for name, value in state["system"].items():
            self._storage.set_study_system_attr(self._study_id, name, value)
        self._known = self._now()


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
