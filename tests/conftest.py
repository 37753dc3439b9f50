"""One Ray runtime for all tests that need it; one thread a test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from workers.process_environment import prepare

prepare(os.environ)  # before anything multiplies, as the command line does


@pytest.fixture(scope="session")
def ray_runtime() -> Iterator[None]:
    """A local runtime of two CPUs that pools join instead of starting their own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say of a test that needs a GPU why it does not run."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this machine has none; on one that has: make gpu-check")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread a test unless it says otherwise: small tensors only lose by sharing."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
