"""A cart that is told, asked and changed while it runs: signals, queries, updates."""
