"""The environment of a process that trains: what the libraries below PyTorch read when they start."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

PROCESS_ENVIRONMENT: Mapping[str, str] = {
    # Without it MKL's products depend on how a matrix lies in memory, and so on a row's slot.
    "MKL_CBWR": "AUTO,STRICT",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic with it only
    # Waiting threads sleep instead of spinning: on shared cores spinning made small updates 30 times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Variables by name. MKL and cuBLAS read theirs at their first call, OpenMP when PyTorch is loaded."""


def prepare(environment: MutableMapping[str, str]) -> None:
    """Set :data:`PROCESS_ENVIRONMENT` in ``environment``; what is set there already stays as it is."""
    for name, value in PROCESS_ENVIRONMENT.items():
        environment.setdefault(name, value)
