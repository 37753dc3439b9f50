"""Show: bring MLflow up to date from the store and draw how each setting changed convergence."""
