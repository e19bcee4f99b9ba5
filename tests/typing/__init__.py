"""Files that are only type-checked: wrong calls in them must be errors."""
