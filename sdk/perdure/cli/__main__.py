"""Starts the command as `python -m perdure.cli`, where its script is not on the path."""

from __future__ import annotations

from perdure.cli import main

if __name__ == "__main__":
    main()
