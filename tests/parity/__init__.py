"""The names of Temporal's Python SDK held against ours."""
