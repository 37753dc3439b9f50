"""Clusters: whether something answers where a sweep is to be trained."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from sweeps.errors import BadInput

CLUSTER_ANSWER_SECONDS = 5.0


def check_cluster(ray: str) -> None:
    """Raise BadInput unless ``ray`` is local, none, auto, or the address of something that answers.

    Ray itself takes more than a minute to give an address up.
    """
    if ray in ("local", "none", "auto"):
        return
    address = urlsplit(ray if "://" in ray else f"ray://{ray}")
    try:
        host, port = address.hostname, address.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise BadInput(f"--ray {ray}: wants local, none, auto, or a cluster's address such as 10.0.0.5:6379")
    try:
        socket.create_connection((host, port), timeout=CLUSTER_ANSWER_SECONDS).close()
    except OSError as error:
        raise BadInput(
            f"--ray {ray}: nothing answers there ({error.strerror or error}); "
            "is the cluster up, and this its address?"
        ) from error
