"""What the libraries below PyTorch need to be told so that equal numbers give equal bits."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

REPEATABLE: Mapping[str, str] = {
    # Without it MKL's products depend on how a matrix lies in memory, and so on a row's slot.
    "MKL_CBWR": "AUTO,STRICT",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Environment variables, read by MKL and cuBLAS at their first call in a process."""


def ask_for_repeatable_products(environment: MutableMapping[str, str]) -> None:
    """Set :data:`REPEATABLE` in ``environment``; what is set there already stays as it is."""
    for name, value in REPEATABLE.items():
        environment.setdefault(name, value)
