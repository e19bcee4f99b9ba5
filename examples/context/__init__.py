"""A value of the caller's that reaches every activity by itself: interceptors and headers."""
