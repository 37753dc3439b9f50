"""Publishing that is killed, cut off or not answered still ends with one run per trial, as it should be."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dashboards import publish, server, tracking, tracking_rows
from dashboards.errors import TrackingUnavailable
from tests.end_to_end.published_runs import Place, check_equal, content, place, runs_in
from tests.unit import published_sweeps as made_up

pytestmark = pytest.mark.xdist_group("publish")  # its fixtures are made once

KILLS = 5


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    tracking.connect(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    return folder / "mlflow.db"


class LosesReplies:
    """MLflow whose connection breaks once, after it has done the n-th thing it was told."""

    def __init__(self, real: Any, breaks_after: int) -> None:
        self._real = real
        self._left = breaks_after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            answer = found(*arguments, **named)
            self._left -= 1
            if self._left == 0:
                raise TrackingUnavailable("the reply was lost")
            return answer

        return call


def rows_that_lose_replies(here: Place, after: int) -> Any:
    return LosesReplies(tracking.connect(here.uri, here.artifacts), after)


def client_that_loses_replies(here: Place, after: int) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tracking_rows, "COMPARED", ("0.0", "none"))
        connected = tracking.connect(here.uri, here.artifacts)
    connected._client = LosesReplies(connected._client, after)
    return connected


@pytest.mark.parametrize(
    ("way", "calls_in_all"), [(rows_that_lose_replies, 6), (client_that_loses_replies, 14)]
)
def test_a_reply_lost_after_any_call_leaves_no_trace(
    tmp_path: Path, empty_mlflow: Path, way: Callable[[Place, int], Any], calls_in_all: int
) -> None:
    golden = place(tmp_path / "golden", empty_mlflow)
    sweep_id = made_up.finished_sweep(golden.store, trials=2, epochs=2)
    stored = (golden.folder / "ravine.db").read_bytes()
    golden.publish(sweep_id)
    undisturbed = content(check_equal(golden, sweep_id))
    broken = 0
    for calls in range(1, 100):
        folder = tmp_path / str(calls)
        folder.mkdir()
        (folder / "ravine.db").write_bytes(stored)
        here = place(folder, empty_mlflow)
        projection = here.projection(sweep_id, way(here, calls))
        try:
            projection.publish(everything=True)
        except TrackingUnavailable:
            broken += 1
            projection.start_over()
            projection.publish(everything=True)
        assert content(check_equal(here, sweep_id)) == undisturbed
        if broken < calls:
            break
    assert broken == calls_in_all


def _publish_in_a_process(folder: str, uri: str, sweep_id: int) -> None:
    arguments = ["--database", f"sqlite:///{folder}/ravine.db", "--sweep", str(sweep_id), "--tracking", uri]
    os._exit(publish.main([*arguments, "--artifacts", f"{folder}/artifacts"]))


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, empty_mlflow: Path) -> None:
    here = place(tmp_path / "home", empty_mlflow)
    sweep_id = made_up.finished_sweep(here.store, trials=24)
    # A server process that has loaded MLflow already: each publisher is forked from it within milliseconds.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        [
            "dashboards.publish",
            "dashboards.charts",
            "mlflow.tracking",
            "mlflow.store.tracking.sqlalchemy_store",
        ]
    )

    def start() -> Any:
        process = processes.Process(target=_publish_in_a_process, args=(str(here.folder), here.uri, sweep_id))
        process.start()
        return process

    source = random.Random(0)
    start().join()  # loads what is to be loaded
    shutil.copy(empty_mlflow, here.mlflow)
    killed = 0
    for _ in range(KILLS):
        process = start()
        process.join(source.uniform(0.05, 0.5))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
    last = start()
    last.join()
    assert last.exitcode == 0
    assert killed > KILLS // 2
    runs = check_equal(here, sweep_id)
    undisturbed = place(tmp_path / "undisturbed", empty_mlflow)
    shutil.copy(here.folder / "ravine.db", undisturbed.folder / "ravine.db")
    again = Place(undisturbed.folder, made_up.open_store(f"sqlite:///{undisturbed.folder / 'ravine.db'}"))
    again.publish(sweep_id)
    assert content(check_equal(again, sweep_id)) == content(runs)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(here: Place) -> Iterator[int]:
    port = free_port()
    process = server._start(here.mlflow, here.artifacts, port)
    try:
        assert server._wait_until_it_answers(process, port, [])
        yield port
    finally:
        server._end(process)


@contextmanager
def proxy(target: int) -> Iterator[tuple[int, list[str]]]:
    """Hands requests on, but keeps the first reply to each creation of a run to itself."""
    kept: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection("127.0.0.1", target)
            headers = {name: self.headers[name] for name in ("Content-Type",) if name in self.headers}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            name = body.decode() if self.path.endswith("runs/create") else ""
            if name and name not in kept:
                kept.append(name)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type", ""))
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = hand_on

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield listening.server_address[1], kept
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_server_that_keeps_replies_to_itself_is_left_without_ghosts(
    tmp_path: Path, empty_mlflow: Path
) -> None:
    here = place(tmp_path / "home", empty_mlflow)
    sweep_id = made_up.finished_sweep(here.store, trials=3)
    with mlflow_server(here) as port, proxy(port) as (door, kept):
        connected = tracking.connect(f"http://127.0.0.1:{door}", here.artifacts)
        here.projection(sweep_id, connected).publish(everything=True)
        runs = check_equal(here, sweep_id)
        assert len(kept) == len(runs) == 4
        assert (
            here.projection(sweep_id, tracking.connect(f"http://127.0.0.1:{port}")).publish(everything=True)
            == 0
        )
        assert check_equal(here, sweep_id) == runs
        assert tracking.delete_runs(here.store.identity(), sweep_id, f"http://127.0.0.1:{port}") == 4
    assert runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id) == []


def test_killed_while_making_the_database_it_makes_it_anew(tmp_path: Path) -> None:
    """A half-migrated database would be refused for ever; so none gets the name before it is whole."""
    here = Place(tmp_path, made_up.open_store(f"sqlite:///{tmp_path / 'ravine.db'}"))
    sweep_id = made_up.finished_sweep(here.store, trials=1)
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(target=_publish_in_a_process, args=(str(tmp_path), here.uri, sweep_id))
    process.start()
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 100_000 for path in tmp_path.glob(".mlflow.db.draft")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not here.mlflow.exists()
    here.publish(sweep_id)
    check_equal(here, sweep_id)
