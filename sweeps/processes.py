"""Processes: who runs a sweep, and whether that process still lives."""

from __future__ import annotations

import os
import socket

import psutil

from sweeps.records import Owner


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def current_owner() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(host=socket.gethostname(), pid=pid, started=psutil.Process(pid).create_time())


def is_dead(owner: Owner) -> bool:
    """Whether ``owner`` is a process of this host that has ended; a pid alone may have been reused.

    Of another host nothing is known: its lease has to run out.
    """
    if owner.host != socket.gethostname():
        return False
    try:
        process = psutil.Process(owner.pid)
        return abs(process.create_time() - owner.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
