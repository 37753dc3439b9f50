"""Keeping a lease: renewal from a thread of its own, so that a long epoch does not lose the sweep."""

from __future__ import annotations

import threading
from types import TracebackType

from sweeps.errors import LeaseLost, StoreUnavailable
from sweeps.records import Lease
from sweeps.store import Store


class LeaseKeeper:
    """Renews a lease every third of its length while the ``with`` block runs.

    Safety does not rest on it: every write checks the lease's epoch. A renewal that fails because the
    database is away is tried again; the next write tells whether the lease outlived the outage.
    """

    def __init__(self, store: Store, lease: Lease, lease_seconds: float) -> None:
        """``lease_seconds``: how far each renewal reaches."""
        self._store = store
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease-keeper", daemon=True)
        self.lost = False

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._ended.wait(self._lease_seconds / 3):
            try:
                self._store.renew_lease(self._lease, self._lease_seconds)
            except LeaseLost:
                self.lost = True
                return
            except StoreUnavailable:
                continue
