"""The smallest workflow, its worker and its client in one process."""
