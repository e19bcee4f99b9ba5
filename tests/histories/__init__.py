"""Golden histories that every release must replay."""
