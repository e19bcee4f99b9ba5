"""Tests against a real Kafka broker, and the fixture that starts one."""
