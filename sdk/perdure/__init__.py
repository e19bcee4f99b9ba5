"""Durable workflows in plain Python on a Kafka log: the package that users import."""

from __future__ import annotations

from typing import Final

from perdure_schemas.version import VERSION

__all__ = ["__version__"]

__version__: Final = VERSION
