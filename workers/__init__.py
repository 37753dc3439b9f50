"""Train: populations of stacked trials, the plain torch loop beside them, and the pools that run both."""
