"""The static checker of workflow code: calls that replay cannot repeat."""
