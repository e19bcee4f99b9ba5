"""An AI agent of pydantic-ai that goes on after a kill."""
