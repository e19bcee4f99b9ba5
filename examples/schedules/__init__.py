"""Cron and schedules: a report made again and again, each one knowing the one before."""
