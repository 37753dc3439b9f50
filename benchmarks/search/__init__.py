"""Search: methods that decide which settings to train on, replayed on curves that were trained before."""
