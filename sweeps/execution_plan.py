"""The execution plan: what may change a curve's bits, decided once per sweep and stored with it."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from typing import Any

from search_spaces.space import SearchSpace


def execution_plan(space: SearchSpace) -> dict[str, Any]:
    """How the space's trials train here: ``execution``, ``device``, ``precision``, and versions.

    ``why_solo`` says why trials that might have been stacked are not, where the file leaves it open.
    """
    import torch

    from workers.stacking import why_solo
    from workers.tasks.registry import task_class

    device = space.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = precision_of(space)
    plan: dict[str, Any] = {
        "execution": space.execution,
        "device": device,
        "precision": precision,
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "products": os.environ.get("MKL_CBWR", ""),
    }
    if task_class(space.task).loop:
        plan["execution"] = "loop"
    elif space.execution == "auto":
        with redirect_stdout(sys.stderr):  # what a task's own code prints is no part of a result
            reason = why_solo(space, precision)
        plan["execution"] = "stacked" if reason is None else "solo"
        if reason is not None:
            plan["why_solo"] = reason
    return plan


def precision_of(space: SearchSpace) -> str:
    """The precision that the file names, else the task's own."""
    from workers.tasks.registry import task_class

    return task_class(space.task).precision if space.precision == "auto" else space.precision


def told_of_plan(plan: dict[str, Any]) -> tuple[str, ...]:
    """Sentences for people about what a plan does not do as they may expect."""
    told = []
    if "why_solo" in plan:
        told.append(f"trials train solo, one after another, not stacked: {plan['why_solo']}")
    if plan["precision"] == "tf32" and plan["device"] == "cpu":
        told.append("precision tf32 is CUDA's; on this CPU trials train in float32")
    return tuple(told)
