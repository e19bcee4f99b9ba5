"""What a partition forgets: closed runs, by rules that are in its log."""
