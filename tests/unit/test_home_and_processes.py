"""Where things are, and who is alive."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sweeps.clusters import check_cluster
from sweeps.errors import BadInput
from sweeps.home import resolve_home
from sweeps.launching import share_out
from sweeps.processes import current_owner, is_dead
from tests.unit.sweeps_for_tests import space


@pytest.mark.parametrize(
    ("home", "environment", "expected"),
    [
        (None, {}, "/work/.ravine"),
        (None, {"RAVINE_HOME": "/data"}, "/data"),
        (Path("here"), {"RAVINE_HOME": "/data"}, "/work/here"),
    ],
)
def test_homes(home: Path | None, environment: dict[str, str], expected: str) -> None:
    places = resolve_home(
        home=home, database=None, tracking=None, environment=environment, working_directory=Path("/work")
    )
    assert str(places.folder) == expected
    assert places.database == f"sqlite:///{expected}/ravine.db"
    assert places.tracking == f"sqlite:///{expected}/mlflow.db"


def test_odd_characters_in_a_home() -> None:
    places = resolve_home(
        home=Path("/a b?c%d"), database=None, tracking=None, environment={}, working_directory=Path("/")
    )
    assert places.database == "sqlite:////a%20b%3Fc%25d/ravine.db"


def test_a_living_owner_and_dead_ones() -> None:
    me = current_owner()
    assert me.pid == os.getpid()
    assert not is_dead(me)
    assert is_dead(replace(me, started=me.started - 100))  # the pid has been reused
    assert not is_dead(replace(me, host="elsewhere", pid=1))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(me, pid=child.pid, started=psutil.Process(child.pid).create_time())
    assert not is_dead(owner)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_dead(owner)
    child.wait()
    assert is_dead(owner)


@pytest.mark.parametrize(
    ("concurrency", "workers", "ray", "cores", "devices", "expected"),
    [
        (32, None, "local", 2, 0, (2, 1)),
        (32, 1, "local", 2, 0, (1, 1)),
        (32, None, "none", 8, 0, (1, 1)),
        (8, None, "local", 16, 0, (2, 1)),
        (1, None, "local", 4, 1, (1, 4)),
        (64, None, "local", 16, 4, (4, 4)),
        (64, 32, "local", 16, 0, (32, 1)),
    ],
)
def test_cores_are_shared_out(
    concurrency: int, workers: int | None, ray: str, cores: int, devices: int, expected: tuple[int, int]
) -> None:
    shared = share_out(space(concurrency=concurrency), workers=workers, ray=ray, cores=cores, devices=devices)
    assert (shared.workers, shared.threads) == expected


@pytest.mark.parametrize("ray", ["nowhere", "10.0.0.1", "10.0.0.1:port", "127.0.0.1:1", ""])
def test_addresses_that_lead_nowhere(ray: str) -> None:
    with pytest.raises(BadInput, match="--ray"):
        check_cluster(ray)


@pytest.mark.parametrize(("stacked", "workers", "threads"), [(True, 1, 1), (False, 4, 2)])
def test_trials_that_are_not_stacked_are_worth_a_worker_each(
    stacked: bool, workers: int, threads: int
) -> None:
    shared = share_out(space(concurrency=4), workers=None, ray="local", cores=8, devices=0, stacked=stacked)
    assert (shared.workers, shared.threads) == (workers, threads)


def test_a_resumed_sweep_keeps_its_threads() -> None:
    resumed = share_out(
        space(concurrency=4), workers=1, ray="local", cores=8, devices=0, stacked=False, threads=3
    )
    assert (resumed.workers, resumed.threads) == (1, 3)
