"""Commands about the topics themselves: dead letters, and the history for others to read."""
