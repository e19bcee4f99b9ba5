"""Traces in a real Jaeger."""
