"""Seeded runs of the whole house in one process with a hand-wound clock."""
