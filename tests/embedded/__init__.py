"""Engine, worker and client as processes on the embedded log."""
