"""Finding runs: the list filter as people write it, the index rows it reads, and pages of runs."""
