"""Read-only views of the log: gateway, pages, insights, traces and the relay."""
