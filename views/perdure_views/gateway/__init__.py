"""The gateway: a JSON API and live events over HTTP, in front of any log. It decides nothing."""
