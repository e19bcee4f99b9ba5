"""The host: a member of the group that owns partitions, and its one thread of user code."""
