"""What travels between an engine and other processes, and the engine's end of it."""
