"""Schedules: what they are, when they act, and the actor that each of them is."""
