"""A subscription that lives for years, and its test that takes a moment."""
