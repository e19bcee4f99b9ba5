"""Activities that fail: tried again, given up, or left to a person."""
