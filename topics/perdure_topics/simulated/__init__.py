"""The log of a simulated world: seeded faults, virtual time, no threads."""
