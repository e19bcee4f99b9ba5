"""Pydantic models as arguments and results, with and without the converter for them."""
