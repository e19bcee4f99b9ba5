"""Files that are only type-checked, by `make types`: wrong calls in them must be errors.

A wrong call carries `# type: ignore[code]`; mypy's warn_unused_ignores fails when it is none.
"""
