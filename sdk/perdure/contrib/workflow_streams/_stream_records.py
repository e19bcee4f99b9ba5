"""What goes between a stream's workflow and its clients, and what both know of a stream."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

import msgspec

from perdure.api.common.v1 import Payload

T = TypeVar("T")

PUBLISH: Final = "__temporal_workflow_stream_publish"
POLL: Final = "__temporal_workflow_stream_poll"
OFFSET: Final = "__temporal_workflow_stream_offset"
DRAINING: Final = "StreamDraining"
"""The type of a poll's failure while the workflow is about to go on as a new run."""
TRUNCATED: Final = "TruncatedOffset"
"""The type of a poll's failure where its offset was cut off."""


@dataclass
class WorkflowStreamItem(Generic[T]):
    """One item as a reader has it: its topic, its value, and its offset in the stream."""

    topic: str
    data: T
    offset: int = 0


@dataclass
class PublishEntry:
    """An item on its way to the workflow; `data` is a payload as text."""

    topic: str
    data: str


@dataclass
class PublishInput:
    """A batch of one publisher; a batch that comes again has the same number, and is left out."""

    items: list[PublishEntry] = field(default_factory=list)
    publisher_id: str = ""
    sequence: int = 0


@dataclass
class PollInput:
    """What a reader waits for: items of some topics (none: all) from an offset on."""

    topics: list[str] = field(default_factory=list)
    from_offset: int = 0


@dataclass
class WireItem:
    """An item as the workflow keeps it; `data` is a payload as text."""

    topic: str
    data: str
    offset: int = 0


@dataclass
class PollResult:
    """Items, where to read on, and whether more is there already."""

    items: list[WireItem] = field(default_factory=list)
    next_offset: int = 0
    more_ready: bool = False


@dataclass
class PublisherState:
    """The last batch of a publisher, and when it came."""

    sequence: int
    last_seen: datetime


@dataclass
class WorkflowStreamState:
    """All that a stream holds, for the run that goes on with it."""

    log: list[WireItem] = field(default_factory=list)
    base_offset: int = 0
    publishers: dict[str, PublisherState] = field(default_factory=dict)


def written(payload: Payload) -> str:
    """A payload as text."""
    raw = msgspec.msgpack.encode((dict(payload.metadata), payload.data))
    return base64.b64encode(raw).decode()


def read(text: str) -> Payload:
    """The payload that a text holds. Raises ValueError for any other text."""
    raw = base64.b64decode(text, validate=True)
    metadata, data = msgspec.msgpack.decode(raw, type=tuple[dict[str, bytes], bytes])
    return Payload(metadata=metadata, data=data)
