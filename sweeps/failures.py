"""Failures: what a sweep's failed trials have in common, in one sentence."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from sweeps.records import TrialRow, TrialState

LONGEST_MESSAGE = 300


def failure_sentence(trials: Sequence[TrialRow]) -> str:
    """Why a sweep is given up: how many of its trials failed, and of what most of them.

    Failures are of one way where they have one cause, and one kind of error was raised at one place.
    """
    failed = [trial for trial in trials if trial.state is TrialState.failed]
    ended = sum(1 for trial in trials if trial.state not in (TrialState.waiting, TrialState.running))
    ways: dict[tuple[str, ...], list[TrialRow]] = defaultdict(list)
    for trial in failed:
        ways[_way(trial)].append(trial)
    commonest = max(ways.values(), key=len)
    message = " ".join(_detail(commonest[0], "message").split()) or str(commonest[0].cause)
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}..."
    if len(commonest) == ended:
        count = "the only trial" if ended == 1 else f"the first {ended} trials"
        how = "failed" if ended == 1 else "failed the same way"
        return f"{count} {how}: {message}"
    times = "" if len(ways) == 1 else f" most of them ({len(commonest)})"
    return f"{len(failed)} of {ended} trials failed,{times} with {message}"


def _way(trial: TrialRow) -> tuple[str, ...]:
    raised_in = re.findall(r'^  File "(.*)", line (\d+)', _detail(trial, "traceback"), re.MULTILINE)
    kind = _detail(trial, "message").partition(":")[0]
    return (str(trial.cause), kind, *(raised_in[-1] if raised_in else ()))


def _detail(trial: TrialRow, name: str) -> str:
    return str((trial.detail or {}).get(name, ""))
