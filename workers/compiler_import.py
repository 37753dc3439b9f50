"""Compiler import: PyTorch's compiler is not loaded only to be kept out of functions that nobody compiles.

Nor is its algebra of symbolic sizes, a quarter of a second, to tell that a plain truth value is true.

PyTorch wraps some functions so that torch.compile passes over them, and loads torch._dynamo, more than a
second, when such a function is called for the first time. Here they are called as they are.
An optimizer's step loads it too, to mark a place where a compiled graph would end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer

_COMPILER = "torch._dynamo"
_KEPT_OUT = "__dynamo_disable"  # where torch._compile keeps what it calls in a function's stead


@contextmanager
def without_compiler(*functions: Callable[..., Any]) -> Iterator[None]:
    """Call ``functions`` inside without loading torch._dynamo; where it is loaded, nothing changes."""
    plain = [] if _COMPILER in sys.modules else [_unwrapped(function) for function in functions]
    plain = [function for function in plain if function is not None and not hasattr(function, _KEPT_OUT)]
    for function in plain:
        setattr(function, _KEPT_OUT, function)
    try:
        yield
    finally:
        for function in plain:
            delattr(function, _KEPT_OUT)


@contextmanager
def without_symbols() -> Iterator[None]:
    """Inside, ``torch._check`` of what is plainly true loads nothing; of anything else it is as it was."""
    known = torch._check_with

    def check(error_type: Any, cond: Any, message: Any) -> None:
        if cond is not True:
            known(error_type, cond, message)

    torch._check_with = check
    try:
        yield
    finally:
        torch._check_with = known


def _unwrapped(function: Callable[..., Any]) -> Any:
    """What torch._disable_dynamo has wrapped; None where it has not."""
    code = getattr(function, "__code__", None)
    wrapped = code is not None and code.co_filename.endswith("_compile.py")
    return getattr(function, "__wrapped__", None) if wrapped else None


def zero_grad(optimizer: Optimizer) -> None:
    """``optimizer.zero_grad()``, without loading torch._dynamo."""
    with without_compiler(Optimizer.zero_grad):
        optimizer.zero_grad()


def step(optimizer: Optimizer) -> None:
    """``optimizer.step()``; one of PyTorch's own optimizers does not load torch._dynamo for it."""
    if _COMPILER in sys.modules or not type(optimizer).__module__.startswith("torch.optim."):
        optimizer.step()
        return
    sys.modules[_COMPILER] = torch._dynamo = _NOTHING_COMPILED
    try:
        optimizer.step()
    finally:
        del sys.modules[_COMPILER], torch._dynamo


def _graph_break(_message: str = "") -> None:
    """Where nothing is compiled, PyTorch's own does nothing either."""


_NOTHING_COMPILED = ModuleType(_COMPILER)
_NOTHING_COMPILED.graph_break = _graph_break  # type: ignore[attr-defined]
