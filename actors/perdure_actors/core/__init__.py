"""The pure rules of a workflow actor: what a command decides and what an event changes."""
