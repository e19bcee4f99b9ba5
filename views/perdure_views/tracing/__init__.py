"""Spans of runs and activities, made from accepted transitions, and their way to a collector."""
