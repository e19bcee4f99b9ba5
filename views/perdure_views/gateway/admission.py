"""Which records a client may append through the gateway, and under which identity."""

from __future__ import annotations

import re
import time
from typing import Any, Final

import msgspec

from perdure_schemas import commands, message_commands, operator_commands
from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode, decode_as, encode
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Reply
from perdure_schemas.tracing import TRACEPARENT, TRACESTATE
from perdure_topics.engine_keys import NO_KEYS, EngineKeys, signed_by_ids
from perdure_topics.names import InvalidNameError, check_workflow_id, partition_of
from perdure_topics.ports import DENIED, Headers, LogError
from perdure_topics.wire.frames import Admitted, AppendRow, Place
from perdure_views.gateway.audit import note
from perdure_views.gateway.principals import Principal
from perdure_views.gateway.shares import ASK_HELD_S, OpenAsks

ADMITTED: Final[dict[type[Record], str]] = {
    commands.AwaitResult: "read",
    commands.DescribeWorkflow: "read",
    commands.ReadHistory: "read",
    commands.ListWorkflows: "read",
    commands.DescribeTaskQueue: "read",
    commands.ReadRetention: "read",
    message_commands.QueryWorkflow: "read",
    message_commands.AwaitUpdate: "read",
    commands.StartWorkflow: "operate",
    commands.CancelWorkflow: "operate",
    commands.TerminateWorkflow: "operate",
    commands.ResetWorkflow: "operate",
    commands.DeleteWorkflow: "operate",
    message_commands.SignalWorkflow: "operate",
    message_commands.UpdateWorkflow: "operate",
    operator_commands.PauseActivity: "operate",
    operator_commands.UnpauseActivity: "operate",
    operator_commands.ResetActivity: "operate",
    operator_commands.RetryActivityNow: "operate",
    operator_commands.FailActivityNow: "operate",
    operator_commands.UpdateActivityOptions: "operate",
    operator_commands.SkipInput: "operate",
    operator_commands.SetRetention: "operate",
    operator_commands.RunRetention: "operate",
    commands.CompleteActivity: "operate",
    commands.FailActivity: "operate",
    commands.ConfirmActivityCanceled: "operate",
    commands.HeartbeatActivity: "operate",
}
"""Record -> the role it needs. What only hosts and workers write is not here."""
_OF_ACTORS: Final = ("source", "parent", "child_of", "external")
"""Fields that only one actor's command to another has."""
_BY_ID: Final = frozenset(kind for kind in ADMITTED if kind.__name__.endswith("Workflow"))
"""Records that go where their workflow id says."""
_CORRELATION: Final = re.compile(r"[!-{}~]{1,200}")
_ID_AT: Final = 10
"""Where a reply's correlation id begins: its first field, behind the framing."""
_ID_WITHIN: Final = 64
"""Its length and the mark are within so many bytes."""
_VERSION: Final = re.compile(rb"[0-9A-Za-z.+-]{0,40}")
TRACE_BYTES_MAX: Final = 512
WAIT_CHARS_MAX: Final = 20
READ_BYTES_MAX: Final = 256 * 1024
"""So much of the log one ask of somebody may take who may only read."""


def admit(
    principal: Principal,
    row: AppendRow,
    place: Place,
    *,
    names: bool,
    mark: str = "",
    keys: EngineKeys = NO_KEYS,
    asks: OpenAsks | None = None,
    reads: bool = False,
) -> Admitted:
    """A record as it is appended; with `names`, under the name of whoever proved who they are.

    With `reads`, what only reads is in the audit log, too.
    Its answer goes to a correlation id that begins with `mark`, so to no other asker.
    What only reads is written anew by the gateway, so nothing of a reader's bytes is in the log.

    Raises LogError when the record is none that this person may append.
    """
    _, _, value, _, headers = row
    record, role = _allowed(principal, value)
    kind = type(record)
    problem = problem_of(record, place)
    if problem:
        raise LogError(f"{DENIED}a {kind.__name__} that cannot be: {problem}")
    about = str(getattr(record, "workflow_id", ""))
    key = about.encode()
    reply: ReplyTo | None = record.reply
    if reply is not None:
        if asks is not None:
            asks.ask(principal.name, reply.correlation_id)
        reply = _held(reply, mark)
        record = msgspec.structs.replace(record, reply=reply)
    kept = _headers(reply, headers)
    if names:
        record = _named(record, principal)
    if role != "read" or reads:
        note(
            "read" if role == "read" else "change",
            name=principal.name,
            role=principal.role,
            what=kind.__name__,
            about=about,
        )
    # Whoever may complete activities here needs no key themselves.
    record = signed_by_ids(record, keys, time.time_ns() // 1_000_000)
    try:
        return Admitted(encode(record), key, kept)
    except ValueError as error:
        raise LogError(f"{DENIED}a {kind.__name__} that cannot be written: {error}") from error


def _allowed(principal: Principal, value: bytes) -> tuple[Any, str]:
    """A record that somebody may append, and the role that they needed. Raises LogError."""
    try:
        record: Any = decode(value, bytes_max=COMMAND_BYTES_MAX)
    except UnreadableRecordError as error:
        raise LogError(f"{DENIED}the gateway cannot read the record: {error}") from error
    kind = type(record)
    role = ADMITTED.get(kind)
    if role is None:
        raise LogError(f"{DENIED}a gateway takes no {kind.__name__} from a client")
    about = str(getattr(record, "workflow_id", ""))
    if not principal.may(role):
        why = f"needs {role}"
        note(
            "denied",
            name=principal.name,
            role=principal.role,
            what=kind.__name__,
            about=about,
            why=why,
        )
        raise LogError(
            f"{DENIED}{principal.name} has the role {principal.role!r}; this needs {role!r}"
        )
    if len(value) > READ_BYTES_MAX and not principal.may("operate"):
        raise LogError(
            f"{DENIED}a {kind.__name__} of {len(value)} bytes: who may only read asks with"
            f" {READ_BYTES_MAX} at most; give it less, or use the role 'operate'"
        )
    if any(getattr(record, name, None) is not None for name in _OF_ACTORS):
        raise LogError(f"{DENIED}only an actor's host sends such a {kind.__name__}")
    return record, role


def problem_of(record: Any, place: Place) -> str:
    """What no client of ours would have written; empty when one may have."""
    if not 0 <= place.partition < place.partitions:
        return f"partition {place.partition} of {place.partitions}"
    if "workflow_id" in record.__struct_fields__:
        workflow_id = record.workflow_id
        try:
            check_workflow_id(workflow_id)
        except InvalidNameError as error:
            return str(error)
        if (
            type(record) in _BY_ID
            and partition_of(workflow_id, place.partitions) != place.partition
        ):
            return f"workflow {workflow_id!r} is not of partition {place.partition}"
    if getattr(record, "partition", place.partition) != place.partition:
        return f"it asks partition {record.partition} in partition {place.partition}"
    reply: ReplyTo | None = record.reply
    if reply is None:
        return ""
    if not 0 <= reply.partition < place.reply_partitions:
        return f"its answer would go to partition {reply.partition} of {place.reply_partitions}"
    if _CORRELATION.fullmatch(reply.correlation_id) is None:
        return "its correlation id is not 1 to 200 plain characters"
    if len(reply.wait) > WAIT_CHARS_MAX or not 0 <= reply.deadline_ms < 1 << 53:
        return "its answer is waited for in a way that is not known"
    return ""


def _named(record: Any, principal: Principal) -> Any:
    """A record under a proven name, and so are the signals that it brings."""
    changed: dict[str, Any] = {}
    if (said := getattr(record, "identity", None)) is not None:
        changed["identity"] = signed(principal, said)
    if signals := getattr(record, "signals", None):
        changed["signals"] = [_named(one, principal) for one in signals]
    return msgspec.structs.replace(record, **changed) if changed else record


def _held(reply: ReplyTo, mark: str) -> ReplyTo:
    """The way back, with the asker's mark; nobody is waited for long after they have gone.

    Who is still there asks again, with the same id, well before the time is over.
    """
    latest_ms = time.time_ns() // 1_000_000 + int(ASK_HELD_S * 1000)
    deadline_ms = min(reply.deadline_ms or latest_ms, latest_ms)
    correlation_id = mark + reply.correlation_id
    return msgspec.structs.replace(reply, correlation_id=correlation_id, deadline_ms=deadline_ms)


def _headers(reply: ReplyTo | None, headers: Headers) -> Headers:
    """What may ride along: the way back, as the record itself says it, and a place in a trace."""
    kept = []
    if reply is not None:
        version = next((v for name, v in headers if name == "perdure-reply"), b"").rpartition(b"|")
        mark = f"{reply.partition}|{reply.correlation_id}|".encode()
        said = version[2] if _VERSION.fullmatch(version[2]) else b""
        kept.append(("perdure-reply", mark + said))
    for name, value in headers:
        if name in (TRACEPARENT, TRACESTATE) and len(value) <= TRACE_BYTES_MAX and value.isascii():
            kept.append((name, value))
    return tuple(kept[:3])


def signed(principal: Principal, said: str) -> str:
    """A proven name, and in brackets what the client says of itself."""
    return f"{principal.name} ({said})" if said and said != principal.name else principal.name


def own_reply(
    mark: str, value: bytes, *, asks: OpenAsks | None = None, name: str = ""
) -> bytes | None:
    """A reply as its asker may have it, under the id that they gave; None for another's.

    What is said to every asker is everybody's.
    """
    if mark.encode() not in value[:_ID_WITHIN] and value[_ID_AT : _ID_AT + 1] != b"\0":
        return None
    try:
        reply = decode_as(Reply, value)
    except UnreadableRecordError:
        return None
    if not reply.correlation_id:
        return value
    if not reply.correlation_id.startswith(mark):
        return None
    correlation_id = reply.correlation_id[len(mark) :]
    if asks is not None:
        asks.answered(name, correlation_id)
    return encode(msgspec.structs.replace(reply, correlation_id=correlation_id))
