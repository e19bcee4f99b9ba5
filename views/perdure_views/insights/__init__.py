"""Figures and findings of task queues: pure functions, and the Faust app that runs them."""
