"""Metrics and traces of this process, set up from code or from the environment."""
