"""Conversion between users' values and records: policies, names, tokens."""
