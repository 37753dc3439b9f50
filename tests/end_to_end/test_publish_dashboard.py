"""MLflow's pages over a home: one address, this machine only, a clean end."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dashboards import tracking
from dashboards.errors import TrackingUnavailable
from dashboards.server import serve_dashboard

pytestmark = pytest.mark.xdist_group("publish")  # its fixtures are made once

SERVE = "import sys; from pathlib import Path; from dashboards.server import serve_dashboard as serve; "
SERVE += "sys.exit(serve(Path(sys.argv[1]), int(sys.argv[2])))"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": host})
    code = connection.getresponse().status
    connection.close()
    return code


def test_it_serves_this_machine_until_it_is_interrupted(tmp_path: Path) -> None:
    tracking.connect(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts").experiment("digits-mlp")
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = process.stderr.readline()
        page = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
        assert told == f"MLflow shows {tmp_path / 'mlflow.db'} until Ctrl-C: {page}\n"
        hosts = {f"127.0.0.1:{port}": 200, f"localhost:{port}": 200, "10.evil.com": 403, "mlflow:5000": 403}
        assert {host: status(port, host) for host in hosts} == hosts
        with pytest.raises(TrackingUnavailable, match=f"--port {port + 1}"):
            serve_dashboard(tmp_path, port)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


def test_without_results_it_says_what_makes_some(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailable, match="ravine launch"):
        serve_dashboard(tmp_path, free_port())
