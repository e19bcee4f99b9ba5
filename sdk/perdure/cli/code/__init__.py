"""Commands about workflow code, which need no engine."""
