"""Server: MLflow's own pages over a home's results, for this machine only."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from dashboards.errors import TrackingUnavailable
from dashboards.tracking import quiet_environment

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve_dashboard(home: Path, port: int, *, tell: Callable[[str], None] | None = None) -> int:
    """Serve HOME/mlflow.db on 127.0.0.1 until SIGINT or SIGTERM; 0, or MLflow's own code if it ends itself.

    ``tell`` gets the address once it answers; without it stderr does.

    Raises:
        TrackingUnavailable: there is nothing to show yet, the port is taken, or the server does not start.
    """
    database = home.absolute() / "mlflow.db"
    if not database.is_file():
        raise TrackingUnavailable(
            f"There is no {database} yet: `ravine launch FILE` makes it, or `ravine publish SWEEP`."
        )
    _check_port(port)
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    server = _start(database, home.absolute() / "artifacts", port)
    try:
        if not _wait_until_it_answers(server, port, stopped):
            return 0
        (tell or _tell)(f"MLflow shows {database} until Ctrl-C: {_address(port)}")
        while not stopped and server.poll() is None:
            time.sleep(0.1)
        return 0 if stopped else server.returncode
    finally:
        _end(server)
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201


def _check_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one just closed is free
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise TrackingUnavailable(
                f"Port {port} of {_HOST} cannot be used: {error.strerror or error}. "
                f"Name another: `ravine dashboard --port {port + 1 if port < 65535 else 5000}`."
            ) from error


def _start(database: Path, artifacts: Path, port: int) -> subprocess.Popen[bytes]:
    addresses = (f"localhost:{port}", f"{_HOST}:{port}")
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{quote(str(database))}"]
    command += ["--default-artifact-root", artifacts.as_uri(), "--no-serve-artifacts"]
    command += ["--workers", "1"]  # one person looks at it, and each takes 1.5 s and 250 MB
    # MLflow's own list lets names in that only look local.
    command += ["--allowed-hosts", ",".join(addresses)]
    command += ["--cors-allowed-origins", ",".join(f"http://{address}" for address in addresses)]
    environment = {**os.environ, **quiet_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this process, which ends that whole group
    )


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, stopped: list[int]) -> bool:
    """Whether it answers; False where it was told to stop before."""
    deadline = time.monotonic() + _START_SECONDS
    while not stopped:
        if server.poll() is not None or time.monotonic() > deadline:
            raise TrackingUnavailable(
                f"MLflow's server did not start on port {port}. "
                f"`{sys.executable} -m mlflow server --port {port}` shows why."
            )
        if _ask(port, "/health") is not None:
            return True
        time.sleep(0.1)
    return False


def _address(port: int) -> str:
    """The newest experiment's runs; MLflow's first page shows traces of language models."""
    answer = _ask(port, "/api/2.0/mlflow/experiments/search?max_results=1&order_by=last_update_time+DESC")
    found = re.search(rb'"experiment_id": *"(\d+)"', answer or b"")
    experiment = f"/{found[1].decode()}/runs" if found else ""
    return f"http://{_HOST}:{port}/#/experiments{experiment}?workflowType=machine_learning"


def _ask(port: int, path: str) -> bytes | None:
    """The server's answer; None where it gives none yet."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=5.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server with everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_SECONDS)
            break
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
