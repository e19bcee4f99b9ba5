"""Runs the command as `python -m perdure.cli`."""

from __future__ import annotations

from perdure.cli import main

if __name__ == "__main__":
    main()
