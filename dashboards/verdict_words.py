"""The verdict on a sweep's settings in sentences, and as columns beside its best trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dashboards.live_view import short
from search_spaces.confirming import Confirm
from sweeps.paired_differences import Estimate
from sweeps.records import FINAL_SWEEP_STATES, SweepRow, TrialRow
from sweeps.verdict import SEARCH_TAIL, Basis, Place, Standing, Verdict

MOST_NAMED = 5  # settings in one sentence
HOW_TO_CONFIRM = "confirm: {top: 5, seeds: 5} in the sweep file"


def confirming_words(confirm: Confirm, settings: int) -> str:
    """What is to be confirmed of so many settings, and how."""
    return (
        f"the best {min(confirm.top, settings)} are trained again with up to {confirm.seeds} fresh seeds each"
    )


def verdict_lines(sweep: SweepRow, verdict: Verdict) -> list[str]:
    """What is known of the best setting and the next, in one to three sentences; none before two finished."""
    if len(verdict.standings) < 2:
        return _too_few(sweep, verdict)
    if verdict.basis is Basis.fresh_seeds:
        return _confirmed(sweep, verdict)
    lines = _unconfirmed(verdict)
    if verdict.confirm is not None:
        return [*lines, _why_not_confirmed(sweep)]
    return lines


def verdict_values(verdict: Verdict, setting: int) -> dict[str, Any]:
    """What is known of a setting by name, for JSON; None where it is not."""
    standing = verdict.of(setting)
    mean = standing.mean if standing else None
    lead = standing.lead if standing else None
    return {
        "setting_number": setting,
        "basis": verdict.basis.value,
        "place": standing.place.value if standing and verdict.basis is not Basis.one_seed else None,
        "mean": mean.mean if mean else None,
        "mean_low": _bound(mean, low=True),
        "mean_high": _bound(mean, low=False),
        "seeds_finished": mean.seeds if mean else 0,
        "seeds_diverged": len(standing.diverged_seeds) if standing else 0,
        "behind_best": lead.mean if lead else None,
        "behind_best_low": _bound(lead, low=True),
        "behind_best_high": _bound(lead, low=False),
    }


def verdict_columns(verdict: Verdict) -> dict[str, Callable[[TrialRow], str]]:
    """Columns of a table of trials about the setting of each; none where every setting had one seed."""
    if verdict.basis is Basis.one_seed:
        return {}
    separated = verdict.separated
    kind = "fresh seeds" if verdict.basis is Basis.fresh_seeds else "seeds"
    cells: dict[str, Callable[[Standing], str]] = {
        f"mean over {kind}": lambda one: f"{one.mean.mean:.5g}" if one.mean else "",
        "95 % interval": lambda one: _mean_interval(one.mean),
        kind: _seeds,
        "verdict": lambda one: "ahead" if one.place is Place.best and not separated else one.place.value,
    }
    return {name: partial(_cell, verdict=verdict, tell=tell) for name, tell in cells.items()}


def _cell(trial: TrialRow, *, verdict: Verdict, tell: Callable[[Standing], str]) -> str:
    standing = verdict.of(trial.setting_index)
    return "" if standing is None else tell(standing)


def _mean_interval(mean: Estimate | None) -> str:
    return f"{mean.low:.5g} to {mean.high:.5g}" if mean is not None and mean.has_interval else ""


def _seeds(standing: Standing) -> str:
    finished = str(standing.mean.seeds if standing.mean else 0)
    return f"{finished} + {len(standing.diverged_seeds)} diverged" if standing.diverged_seeds else finished


def _bound(estimate: Estimate | None, *, low: bool) -> float | None:
    if estimate is None or not estimate.has_interval:
        return None
    return estimate.low if low else estimate.high


def _confirmed(sweep: SweepRow, verdict: Verdict) -> list[str]:
    best, second, *_ = verdict.standings
    assert verdict.confirm is not None  # noqa: S101 - or nothing is confirmed
    rate, most = verdict.confirm.error_rate, verdict.confirm.seeds
    left = [one for one in verdict.standings if one.place is not Place.worse]
    worse = [one for one in verdict.standings if one.place is Place.worse]
    if best.diverged_seeds:
        first = f"{_settings(left)} are tied: each of them diverged with a fresh seed"
    elif verdict.separated:
        next_best = next((one for one in worse if one.lead is not None and one.lead.is_positive), second)
        first = _better(best, next_best, rate)
        worse = [one for one in worse if one is not next_best]
    elif verdict.over:
        ahead = _ahead(best, left[1], rate)
        first = f"{_settings(left)} are tied after {verdict.seeds} fresh seeds each: {ahead}"
    else:
        ahead = _ahead(best, left[1], rate)
        first = f"{_settings(left)} are not told apart after {verdict.seeds} of {most} fresh seeds: {ahead}"
        first += ", and the sweep has ended" if sweep.state in FINAL_SWEEP_STATES else ""
    lines = [first]
    if worse:
        told = "; ".join(_how_much_worse(one, rate) for one in worse)
        lines.append(f"worse than {_setting(best)}: {told}")
    lines.append(
        "only fresh seeds count, since the search's own flatter what it chose; as intervals allow for a look "
        f"after each seed, equal settings are told apart in {_percent(rate)} of sweeps at most"
    )
    return lines


def _unconfirmed(verdict: Verdict) -> list[str]:
    best, second, *_ = verdict.standings
    if verdict.basis is Basis.one_seed:
        first = f"one seed cannot tell whether {_setting(best)} is really better than {_setting(second)}"
        if verdict.confirm is not None:
            return [first]
        return [f"{first}; {HOW_TO_CONFIRM} trains the best again with fresh seeds, which can"]
    tied = [one for one in verdict.standings if one.place is Place.tied]
    rate = 2 * SEARCH_TAIL
    told = f"{_settings([best, *tied])} are tied: {_ahead(best, tied[0], rate)}" if tied else ""
    hint = "" if verdict.confirm else f"; {HOW_TO_CONFIRM} trains the best again with fresh ones"
    return [
        told or _better(best, second, rate),
        f"these are the search's own seeds, which flatter what it chose{hint}",
    ]


def _too_few(sweep: SweepRow, verdict: Verdict) -> list[str]:
    if verdict.confirm is None or sweep.state not in FINAL_SWEEP_STATES:
        return []
    return ["nothing is confirmed: fewer than two settings finished with all their seeds"]


def _why_not_confirmed(sweep: SweepRow) -> str:
    if sweep.state in FINAL_SWEEP_STATES:
        return "not confirmed: the sweep ended before each leader had two fresh seeds"
    return "not confirmed yet: leaders are compared after the search, from their second fresh seed on"


def _better(best: Standing, second: Standing, rate: float) -> str:
    """The best one against the next, where the difference is real."""
    if second.lead is None or second.diverged_seeds:
        return f"{_setting(best)} is better than {_setting(second)}, which {_diverged(second)}"
    return (
        f"{_setting(best)} is better than {_setting(second)} by {short(second.lead.mean)} "
        f"({_interval(second.lead, rate)}): the difference is real"
    )


def _ahead(best: Standing, other: Standing, rate: float) -> str:
    """The best one against another, where the difference may be chance."""
    if other.lead is None:
        return f"{_setting(best)} and {_setting(other)} share no seed that both finished with"
    interval = _interval(other.lead, rate)
    if other.lead.mean == 0.0:
        return f"{_setting(best)} and {_setting(other)} do not differ ({interval})"
    return f"{_setting(best)} is ahead of {_setting(other)} by {short(other.lead.mean)} ({interval})"


def _how_much_worse(one: Standing, rate: float) -> str:
    if one.diverged_seeds:
        return f"{_setting(one)}, which {_diverged(one)}"
    told = "" if one.lead is None else f" by {short(one.lead.mean)} ({_interval(one.lead, rate)})"
    return f"{_setting(one)}{told}"


def _interval(lead: Estimate, rate: float) -> str:
    shared = f"{lead.seeds} shared seed{'' if lead.seeds == 1 else 's'}"
    if not lead.has_interval:
        return shared
    return f"{_percent(1 - rate)} interval {short(lead.low)} to {short(lead.high)}, {shared}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _diverged(one: Standing) -> str:
    return f"diverged with seed {' and '.join(str(seed) for seed in one.diverged_seeds)}"


def _setting(one: Standing) -> str:
    return f"setting {one.setting}"


def _settings(some: Sequence[Standing]) -> str:
    """``settings 12, 7 and 3``; beyond a few, how many more."""
    numbers = [str(one.setting) for one in some]
    if len(numbers) > MOST_NAMED:
        numbers = [*numbers[: MOST_NAMED - 1], f"{len(numbers) - MOST_NAMED + 1} more"]
    return f"settings {', '.join(numbers[:-1])} and {numbers[-1]}"
