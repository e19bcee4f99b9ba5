"""A workflow that runs Kubernetes Jobs: what an operator does by reconciling, as plain code."""
