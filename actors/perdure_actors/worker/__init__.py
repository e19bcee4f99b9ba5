"""The activity worker: tasks taken, attempts run, outcomes reported."""
