"""Which records a client may append through the gateway, and under whose name."""

from __future__ import annotations

from typing import Final

import msgspec

from perdure_schemas import commands, message_commands, operator_commands
from perdure_schemas.avro import UnreadableRecordError, decode, encode
from perdure_schemas.payloads import Record
from perdure_topics.ports import DENIED, LogError
from perdure_views.gateway.people import Person

ADMITTED: Final[dict[type[Record], str]] = {
    commands.AwaitResult: "read",
    commands.DescribeWorkflow: "read",
    commands.ReadHistory: "read",
    commands.ListWorkflows: "read",
    commands.DescribeTaskQueue: "read",
    message_commands.QueryWorkflow: "read",
    message_commands.AwaitUpdate: "read",
    commands.StartWorkflow: "operate",
    commands.CancelWorkflow: "operate",
    commands.TerminateWorkflow: "operate",
    message_commands.SignalWorkflow: "operate",
    message_commands.UpdateWorkflow: "operate",
    operator_commands.PauseActivity: "operate",
    operator_commands.UnpauseActivity: "operate",
    operator_commands.ResetActivity: "operate",
    operator_commands.RetryActivityNow: "operate",
    operator_commands.FailActivityNow: "operate",
    operator_commands.UpdateActivityOptions: "operate",
    commands.CompleteActivity: "operate",
    commands.FailActivity: "operate",
    commands.ConfirmActivityCanceled: "operate",
    commands.HeartbeatActivity: "operate",
}
"""Record -> the role it needs. What only hosts and workers write is not here."""
_OF_ACTORS: Final = ("source", "parent", "child_of", "external")
"""Fields that only one actor's command to another has."""


def admit(person: Person, value: bytes, *, names: bool) -> bytes:
    """A record as it is appended; with `names`, under the name of whoever proved who they are.

    Raises LogError when the record is none that this person may append.
    """
    try:
        record = decode(value)
    except UnreadableRecordError as error:
        raise LogError(f"{DENIED}the gateway cannot read the record: {error}") from error
    kind = type(record)
    role = ADMITTED.get(kind)
    if role is None:
        raise LogError(f"{DENIED}a gateway takes no {kind.__name__} from a client")
    if not person.may(role):
        raise LogError(f"{DENIED}{person.name} has the role {person.role!r}; this needs {role!r}")
    if any(getattr(record, name, None) is not None for name in _OF_ACTORS):
        raise LogError(f"{DENIED}only an actor's host sends such a {kind.__name__}")
    said = getattr(record, "identity", None)
    if not names or said is None:
        return value
    return encode(msgspec.structs.replace(record, identity=signed(person, said)))


def signed(person: Person, said: str) -> str:
    """A proven name, and in brackets what the client says of itself."""
    return f"{person.name} ({said})" if said and said != person.name else person.name
