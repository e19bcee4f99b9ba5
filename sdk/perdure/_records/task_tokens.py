"""The task token of an activity attempt: encoding and decoding."""

from __future__ import annotations

from typing import Final

import msgspec

from perdure_schemas.tasks import ActivityTask
from perdure_topics.names import unquote

TOKEN_BYTES_MAX: Final = 16_384


class TaskToken(msgspec.Struct, array_like=True, frozen=True):
    """All that a report about an attempt needs."""

    task_queue: str
    """The queue of the workflow, which may be another one than the activity's."""
    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TaskToken)


def token_of(task: ActivityTask) -> bytes:
    """The token of a task, as bytes to give to whoever completes it."""
    queue = unquote(task.commands_topic.split(".")[1])
    return _encoder.encode(
        TaskToken(queue, task.workflow_id, task.run_id, task.activity_id, task.attempt, task.token)
    )


def read_token(token: bytes) -> TaskToken:
    """What a token says. Raises ValueError when it is none."""
    try:
        if len(token) > TOKEN_BYTES_MAX:
            raise ValueError
        return _decoder.decode(token)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "this is no task token: give the bytes of activity.info().task_token, unchanged"
        ) from error
