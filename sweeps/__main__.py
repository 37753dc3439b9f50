"""``python -m sweeps`` is the ``ravine`` command."""

from sweeps.cli import main

main()
