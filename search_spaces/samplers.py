"""Samplers by name: which there are, which learn, and which are a user's own."""

from __future__ import annotations

SAMPLERS = ("tpe", "random", "qmc", "grid", "gp")


def is_own(sampler: str) -> bool:
    """Whether ``sampler`` is a user's own, named ``module:Class`` or ``path/to/file.py:Class``."""
    return ":" in sampler


def learns(sampler: str) -> bool:
    """Whether the sampler asks for results; the others are designs, fixed before the first of them."""
    return sampler in ("tpe", "gp") or is_own(sampler)
