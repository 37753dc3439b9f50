"""The rehearsal of a user's own sampler: it proposes for a study that is thrown away."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from time import monotonic

from search_spaces.sampler_field import WANTED_OWN
from search_spaces.space import Pruner, SearchSpace
from sweeps.errors import SamplerFailed
from sweeps.own_sampler import OwnSampler, SamplerRefused
from sweeps.proposals import Proposals

PROPOSALS = 12  # Optuna's samplers draw the first ten at random
MOST_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedSampler:
    """What trying a sampler showed."""

    got: str = ""  # phrase for what is wrong; empty where nothing is
    wanted: str = WANTED_OWN
    hint: str = ""
    notes: tuple[str, ...] = ()  # for people


def rehearse_sampler(space: SearchSpace) -> TriedSampler:
    """Have the space's own sampler propose some settings, and tell it made-up results."""
    try:
        takes_seed = OwnSampler.of(space).takes_seed
        proposals = Proposals(replace(space, pruner=Pruner()))
    except SamplerRefused as error:
        return TriedSampler(got=error.got, hint=error.hint)
    began = monotonic()
    try:
        for index in range(PROPOSALS):
            if monotonic() - began > MOST_SECONDS or not proposals.ask(1):
                break
            value = hashlib.sha256(str(index).encode()).digest()[0] / 256
            proposals.report(index, 1, value)
            proposals.end(index, "pruned" if index % 5 == 4 else "finished")
    except SamplerFailed as error:
        wanted = "a sampler that proposes settings of this file"
        return TriedSampler(got=str(error).removeprefix("The sampler "), wanted=wanted)
    if takes_seed:
        return TriedSampler()
    note = f"the sampler {space.sampler} takes no seed: another launch will not propose the same"
    return TriedSampler(notes=(note,))
