"""Describe: which settings a sweep may try, as plain values. No torch, no SQL, no ray."""
