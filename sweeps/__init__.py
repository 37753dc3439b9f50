"""Decide: what to propose, admit and prune; the store; the runner; the command line."""
