"""Errors: what may go wrong on the way to MLflow. Training is not touched by any of it."""

from __future__ import annotations

from sweeps.errors import RavineError


class TrackingUnavailable(RavineError):
    """MLflow cannot be reached, or refuses what it is told."""


class PublisherBusy(RavineError):
    """Another process publishes the same sweep."""
