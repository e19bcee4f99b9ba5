"""What travels between an engine and the other processes of its machine: frames and their limits.

A websocket message is a list of frames in MessagePack; a frame is an array whose first element
says which. Both sides check types and sizes while decoding. Change VERSION when a frame changes.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import msgspec

from perdure_topics.ports import Headers

VERSION: Final = 1
_MIB: Final = 1024 * 1024
MESSAGE_BYTES_MAX: Final = 16 * _MIB
"""No message is larger: the largest record, what may precede it, and framing."""
BATCH_BYTES: Final = _MIB
"""A message is sent when it has grown to this."""
WINDOW_BYTES: Final = _MIB
"""So much of one partition may be on its way or waiting at the reader."""
BEAT_S: Final = 1.0
"""Whoever has nothing to say says so this often."""
SILENCE_S: Final = 6.0
"""Whoever is silent for this long is taken for dead."""
PATH: Final = "/log"


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all frames are: an array whose first element says which frame it is."""


class Hello(Frame, frozen=True, tag=0):
    """A client's first frame; the version stands first for ever."""

    version: int
    release: str


class Welcome(Frame, frozen=True, tag=1):
    """The engine's answer to a client that it understands."""

    version: int
    release: str
    cluster_id: str


class Refused(Frame, frozen=True, tag=2):
    """The engine's answer to a client that it does not serve."""

    message: str


class Beat(Frame, frozen=True, tag=3):
    """I am here."""


AppendRow: TypeAlias = tuple[str, int, bytes, bytes | None, Headers]
"""Topic, partition, value, key, headers."""


class Admitted(NamedTuple):
    """A record as it is written for a client."""

    value: bytes
    key: bytes
    headers: Headers


class Place(NamedTuple):
    """Where a client's record is to go, and how much there is of it."""

    partition: int
    partitions: int
    """How many the topic has."""
    reply_partitions: int


class Append(Frame, frozen=True, tag=10):
    """Records of one writer, numbered from `first` on."""

    writer: int
    first: int
    rows: list[AppendRow]


AckRow: TypeAlias = tuple[int, int | None, int, str | None]
"""Number, offset, time, error."""


class Acks(Frame, frozen=True, tag=11):
    """What became of some records of a writer."""

    writer: int
    rows: list[AckRow]


class CloseWriter(Frame, frozen=True, tag=12):
    """A writer is not used any more; what it has queued is dropped."""

    writer: int


class Follow(Frame, frozen=True, tag=20):
    """Send me a partition from an offset on, as this feed."""

    feed: int
    topic: str
    partition: int
    offset: int


class Unfollow(Frame, frozen=True, tag=21):
    """Send me no more of this feed."""

    feed: int


class Took(Frame, frozen=True, tag=22):
    """So much of a feed was taken: there is room again."""

    feed: int
    size_bytes: int


RecordRow: TypeAlias = tuple[bytes | None, bytes | None, int, Headers]
"""Key, value, time, headers."""


class Records(Frame, frozen=True, tag=23):
    """Records of a feed, from the offset `first` on without a gap."""

    feed: int
    first: int
    rows: list[RecordRow]


class Lost(Frame, frozen=True, tag=24):
    """A feed has ended: its position is not in the log, or cannot be read."""

    feed: int
    position: bool
    message: str


class Join(Frame, frozen=True, tag=30):
    """Let me be a member of a group, and read what I am given if `reads`."""

    member: int
    group: str
    topic: str
    reads: bool


class Release(Frame, frozen=True, tag=31):
    """I have let go of a revoked partition."""

    member: int
    partition: int


class Commit(Frame, frozen=True, tag=32):
    """Keep these offsets of my partitions."""

    member: int
    offsets: list[tuple[int, int]]


class Leave(Frame, frozen=True, tag=33):
    """I am a member no more."""

    member: int


ChangeRow: TypeAlias = tuple[str, int, int, int]
"""Kind, partition, its feed, its end when it was assigned."""


class Changes(Frame, frozen=True, tag=34):
    """What a group says to a member."""

    member: int
    rows: list[ChangeRow]


class Probe(Frame, frozen=True, tag=40):
    """Where does a partition end?"""

    ask: int
    topic: str
    partition: int


class AskTopic(Frame, frozen=True, tag=41):
    """What is this topic?"""

    ask: int
    name: str


class AskNames(Frame, frozen=True, tag=42):
    """Which topics are there?"""

    ask: int


SpecRow: TypeAlias = tuple[str, int, int, dict[str, str]]
"""Name, partitions, replication, settings."""


class MakeTopics(Frame, frozen=True, tag=43):
    """Make these topics."""

    ask: int
    specs: list[SpecRow]


class DeleteBefore(Frame, frozen=True, tag=44):
    """Delete the records below an offset."""

    ask: int
    topic: str
    partition: int
    offset: int


class AskOffsets(Frame, frozen=True, tag=45):
    """Where does this partition begin and end?"""

    ask: int
    topic: str
    partition: int


class AskMembers(Frame, frozen=True, tag=46):
    """How many members has this group?"""

    ask: int
    group: str


TopicRow: TypeAlias = tuple[str, str, int, int, dict[str, str]]
"""Name, id, partitions, replication, settings."""


class Answer(Frame, frozen=True, tag=50):
    """The answer to any ask: at most one of the fields behind the error means something."""

    ask: int
    error: str | None = None
    number: int | None = None
    names: list[str] | None = None
    topic: TopicRow | None = None
    offsets: tuple[int, int] | None = None


Asking: TypeAlias = (
    Probe | AskTopic | AskNames | MakeTopics | DeleteBefore | AskOffsets | AskMembers
)
FromClient: TypeAlias = (
    Hello
    | Beat
    | Append
    | CloseWriter
    | Follow
    | Unfollow
    | Took
    | Join
    | Release
    | Commit
    | Leave
    | Probe
    | AskTopic
    | AskNames
    | MakeTopics
    | DeleteBefore
    | AskOffsets
    | AskMembers
)
FromEngine: TypeAlias = Welcome | Refused | Beat | Acks | Records | Lost | Changes | Answer

encode: Final = msgspec.msgpack.Encoder().encode
decode_from_client: Final = msgspec.msgpack.Decoder(list[FromClient]).decode
decode_from_engine: Final = msgspec.msgpack.Decoder(list[FromEngine]).decode
