"""Schedules: their specs, their times, and the workflow that each of them is."""
