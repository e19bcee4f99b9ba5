"""Batches: one action on all runs that a filter names, as a workflow of ours."""
