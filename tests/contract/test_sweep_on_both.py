"""The same sweep through the command line gives the same rows on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from sweeps.store import file_url, open_store
from tests.contract.conftest import _new_database
from tests.end_to_end.command_line import ravine, sweep_file
from tests.unit.sweeps_for_tests import everything

TEXT = """\
name: both
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 5
optimizer:
  SGD: {lr: {log: [1e-3, 10.0]}, momentum: {log1m: [0.0, 0.99]}}
trials: 16
concurrency: 4
pruner: median
"""


def test_the_same_rows_on_both_databases(postgresql_server: str, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, TEXT)
    urls = [file_url(tmp_path / "home" / "ravine.db"), _new_database(postgresql_server)]
    results = []
    for url in urls:
        ran = ravine("launch", file, "--ray", "none", "--database", url, "--json", home=tmp_path / "home")
        assert ran.code == 0, ran.stderr
        store = open_store(url, read_only=True)
        trials, measurements, proposals = everything(store, 1)
        store.close()
        results.append((trials, [m.val_loss for m in measurements], proposals))
        listed = ravine("trials", "both", "--format", "csv", "--database", url, home=tmp_path / "home")
        assert listed.stdout.count("\n") == 17
    assert results[0] == results[1]
