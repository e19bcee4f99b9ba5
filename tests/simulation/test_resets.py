"""A reset is whole whenever its host dies in the middle; without its rules it is seen not to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from perdure_actors import inherited_history
from perdure_actors.core import children, reset
from perdure_actors.inherited_history import Inherited
from perdure_actors.partition.journal import Journal
from perdure_actors.partition.recovery import Recovery
from perdure_schemas.avro import encode
from tests.simulation.reset_runs import DEATHS, Death, reset_with

_ending = reset._ending
_effects_of_closing = children.effects_of_closing


@pytest.mark.parametrize("death", DEATHS)
def test_a_reset_is_whole_whenever_its_host_dies(death: Death | None) -> None:
    assert reset_with(death) == []


def knows_no_first_time(_current: Any, _command: Any) -> bool:
    """A reset that was half done is done anew."""
    return False


def ends_without_a_link(*args: Any) -> Any:
    """The old run does not say which goes on."""
    return [
        replace(step, events=[replace(one, next_run_id="", reset=None) for one in step.events])
        for step in _ending(*args)
    ]


def ends_all_children(run: Any, event: Any, at: Any, now_ms: int) -> Any:
    """The end of the old run is the end of its children."""
    return _effects_of_closing(run, replace(event, reset=None), at, now_ms)


def leaves_attempts(activity: Any, _now_ms: int) -> Any:
    """What is pending stays as it was: nobody is given it again."""
    return activity


def sees_the_table_only(_self: Any, _start: bytes, _end: bytes) -> dict[bytes, bytes]:
    """What is on its way to the table is not looked at."""
    return {}


def keeps_the_start(_self: Inherited, body: Any) -> bytes:
    """The first transition is kept as it is in the log, without the input that it stands for."""
    encoded: bytes = encode(body)
    return encoded


BUGS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "knows_no_first_time": (reset, "_was_taken", knows_no_first_time),
    "ends_without_a_link": (reset, "_ending", ends_without_a_link),
    "ends_all_children": (children, "effects_of_closing", ends_all_children),
    "leaves_attempts": (inherited_history, "_first_attempt", leaves_attempts),
    "sees_the_table_only": (Journal, "rows_ahead", sees_the_table_only),
    "folds_the_table_only": (Recovery, "_rows_ahead", sees_the_table_only),
    "keeps_the_start": (Inherited, "stored", keeps_the_start),
}


@pytest.mark.parametrize("name", BUGS)
def test_without_a_rule_something_is_wrong(name: str) -> None:
    where, function, bug = BUGS[name]

    with patch.object(where, function, bug):
        found = [problem for death in DEATHS for problem in _tried(death)]

    assert found, f"{name} was not noticed"


def _tried(death: Death | None) -> list[str]:
    try:
        return reset_with(death)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
