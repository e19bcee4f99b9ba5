"""The deterministic loop that runs user coroutines and feeds them their history."""
