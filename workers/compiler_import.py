"""Compiler import: PyTorch's compiler is not loaded only to be kept out of functions that nobody compiles.

PyTorch wraps some functions so that torch.compile passes over them, and loads torch._dynamo, more than a
second, when such a function is called for the first time. Here they are called as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_KEPT_OUT = "__dynamo_disable"  # where torch._compile keeps what it calls in a function's stead


@contextmanager
def without_compiler(*functions: Callable[..., Any]) -> Iterator[None]:
    """Call ``functions`` inside without loading torch._dynamo; where it is loaded, nothing changes."""
    plain = [] if "torch._dynamo" in sys.modules else [_unwrapped(function) for function in functions]
    plain = [function for function in plain if function is not None and not hasattr(function, _KEPT_OUT)]
    for function in plain:
        setattr(function, _KEPT_OUT, function)
    try:
        yield
    finally:
        for function in plain:
            delattr(function, _KEPT_OUT)


def _unwrapped(function: Callable[..., Any]) -> Any:
    """What torch._disable_dynamo has wrapped; None where it has not."""
    code = getattr(function, "__code__", None)
    wrapped = code is not None and code.co_filename.endswith("_compile.py")
    return getattr(function, "__wrapped__", None) if wrapped else None
