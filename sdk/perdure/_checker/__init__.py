"""Looking for calls that replay cannot repeat, without running any code."""
