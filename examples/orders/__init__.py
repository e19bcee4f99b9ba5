"""The order saga: the workflow that everyone starts with, and a demo that kills its processes."""
