"""The gateway's implementation over a client's connection."""
