"""The gateway put together over a client's connection."""
