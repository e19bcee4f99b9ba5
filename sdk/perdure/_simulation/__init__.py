"""Simulated worlds: processes that are stepped on virtual time, over the simulated log."""
