"""Real processes on a real broker while everything that can fail does: `make chaos`."""
