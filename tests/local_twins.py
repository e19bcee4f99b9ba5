"""The typed calls of local activities, made from those of activities: `make pages` writes them.

Type checkers need each overload spelled out, and both kinds of activity take the same ones.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

WORKFLOW: Final = Path(__file__).parents[1] / "sdk/perdure/workflow"
TWINS: Final = {
    "_activities.py": "_local_activities.py",
    "_activity_methods.py": "_local_activity_methods.py",
}
_RULES: Final = (
    (r"\A\"\"\"A(.*)\n", '"""Local a\\1\n\nMade from `{source}` by `make pages`.\n"""\n'),
    (r"\b(start|execute)_activity(?=\b|_)", r"\1_local_activity"),
    (
        r"_activity_calls import (ActivityConfig|execute|start)\b",
        r"_local_activity_calls import \1",
    ),
    (r"\bActivityConfig\b", "LocalActivityConfig"),
    (
        r"Start an activity; the task that is returned awaits its result\.",
        "Start a local activity: one that the worker which hosts the workflow runs itself.",
    ),
    (r"\ban activity\b", "a local activity"),
)


def twin_of(name: str) -> str:
    """The text of the module of local activities that belongs to a module of activities."""
    text = (WORKFLOW / name).read_text("utf-8")
    head, _, rest = text.partition('."""\n')
    text = f"{head}.\n{rest}"
    for pattern, put in _RULES:
        text = re.sub(pattern, put.replace("{source}", name.removesuffix(".py")), text)
    return text


def write() -> None:
    """Write each twin."""
    for name, twin in TWINS.items():
        (WORKFLOW / twin).write_text(twin_of(name), "utf-8")
