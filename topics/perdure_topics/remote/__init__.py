"""The log of an engine in another process of this machine, behind the Log port."""
