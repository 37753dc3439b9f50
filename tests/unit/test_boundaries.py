"""What importing a layer loads, seen from a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        (
            "search_spaces.files, search_spaces.space",
            ["torch", "numpy", "sqlalchemy", "optuna", "ray", "mlflow"],
        ),
        (
            "workers.worker, workers.ray_pool, workers.rehearsal",
            ["sqlalchemy", "optuna", "mlflow", "ray", "yaml"],
        ),
        ("sweeps.cli", ["torch", "sqlalchemy", "optuna", "mlflow", "ray", "plotly"]),
        ("sweeps.store", ["torch", "alembic", "optuna", "mlflow", "ray"]),
        ("dashboards.charts, dashboards.publishing, dashboards.live_view", ["mlflow", "ray"]),
    ],
)
def test_importing_a_layer_does_not_load_what_it_must_not_know(imported: str, absent: list[str]) -> None:
    program = f"import sys; import {imported}; print([name for name in {absent!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
