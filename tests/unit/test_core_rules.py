"""The index of the core is whole: every event has its apply, every command its decide."""

from __future__ import annotations

from typing import get_args

from perdure_actors.core import rules
from perdure_actors.reads import READS
from perdure_schemas import commands, events
from perdure_schemas.payloads import Record


def _records_of(module: object) -> set[type[Record]]:
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Record)
        and value.__module__ == getattr(module, "__name__", "")
    }


def test_every_event_of_a_run_has_its_apply() -> None:
    assert set(rules.APPLY) == set(get_args(events.Event))


def test_every_event_is_of_one_kind() -> None:
    kinds = [
        set(get_args(kind))
        for kind in (events.Input, events.Output, events.Neutral, events.PartitionEvent)
    ]

    assert sum(len(kind) for kind in kinds) == len(set().union(*kinds))
    assert set().union(*kinds) == _records_of(events)


def test_every_command_is_decided_or_read() -> None:
    assert set(rules.COMMANDS) | set(READS) == _records_of(commands)
    assert not set(rules.COMMANDS) & set(READS)


def test_routed_commands_name_their_workflow_and_their_request() -> None:
    for kind in rules.ROUTED:
        assert {"workflow_id", "request_id", "first_sent_ms", "source"} <= set(
            kind.__struct_fields__
        )


def test_only_outputs_become_other_events_and_only_events_bring_errands() -> None:
    assert set(rules.OUTPUTS) <= events.OUTPUTS
    assert set(rules.EFFECTS) <= set(rules.APPLY)


def test_alarms_are_those_that_rows_can_hold() -> None:
    assert set(rules.ALARMS) == {"run", "activity", "timer"}
