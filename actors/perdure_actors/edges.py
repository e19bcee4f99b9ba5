"""The edge of this process: where payloads are encoded on their way out and decoded on the way in.

What lies behind it, a codec or a store of large payloads, is the user's and may wait for others;
so it is async, and nothing that decides or replays ever calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure_actors.replay.blocked import DeadlockError
from perdure_actors.replay.raised import kind_of, said_by
from perdure_schemas.contexts import SerializationContext
from perdure_schemas.payload_places import payloads_in, with_payloads
from perdure_schemas.payloads import Payload, Record

if TYPE_CHECKING:
    from perdure_actors.replay.contexts import RecordContexts

EDGE_S_MAX = 10.0
"""How long the payloads of one record or transition may take to be encoded or decoded."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Edge(Protocol):
    """What payloads go through when they leave this process, and when they come in."""

    @property
    def headers(self) -> bool:
        """Whether headers go through it as well."""

    @property
    def is_contextual(self) -> bool:
        """Whether it wants to know whose payloads it is given."""

    def with_context(self, context: SerializationContext) -> Edge:
        """The edge as it works in a context."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they may leave."""

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they were before `encode`."""


class CodecError(ValueError):
    """Payloads could not be encoded or decoded: the codec, its key or the store is at fault."""


Contexts = Sequence[SerializationContext]
"""Whose payloads each record holds; none where that is not known."""


async def encode_records(
    records: Sequence[R], edge: Edge | None, *, what: str, contexts: Contexts = ()
) -> list[R]:
    """Records whose payloads may leave. Raises CodecError when they cannot be encoded."""
    return await _through(records, edge, what=what, decoding=False, contexts=contexts)


async def decode_records(
    records: Sequence[R], edge: Edge | None, *, what: str, contexts: Contexts = ()
) -> list[R]:
    """Records as user code may read them. Raises CodecError when they cannot be decoded."""
    return await _through(records, edge, what=what, decoding=True, contexts=contexts)


def edge_in(edge: Edge | None, context: SerializationContext | None) -> Edge | None:
    """An edge as it works in a context, if there is one and the edge cares."""
    if edge is None or context is None or not edge.is_contextual:
        return edge
    return edge.with_context(context)


async def encode_payloads(
    payloads: Sequence[Payload], edge: Edge | None, *, what: str
) -> list[Payload]:
    """Payloads as they may leave. Raises CodecError when they cannot be encoded."""
    if edge is None or not payloads:
        return list(payloads)
    return await _apply(payloads, edge, what=what, decoding=False)


async def decode_payloads(
    payloads: Sequence[Payload], edge: Edge | None, *, what: str
) -> list[Payload]:
    """Payloads as they were before they left. Raises CodecError when they cannot be decoded."""
    if edge is None or not payloads:
        return list(payloads)
    return await _apply(payloads, edge, what=what, decoding=True)


async def _through(
    records: Sequence[R], edge: Edge | None, *, what: str, decoding: bool, contexts: Contexts
) -> list[R]:
    if edge is None:
        return list(records)
    if contexts and edge.is_contextual:
        return await _by_context(records, edge, what=what, decoding=decoding, contexts=contexts)
    headers = edge.headers
    found = [payloads_in(record, headers=headers) for record in records]
    flat = [payload for payloads in found for payload in payloads]
    if not flat:
        return list(records)
    made = iter(await _apply(flat, edge, what=what, decoding=decoding))
    return [
        with_payloads(record, made, headers=headers) if payloads else record
        for record, payloads in zip(records, found, strict=True)
    ]


async def _by_context(
    records: Sequence[R], edge: Edge, *, what: str, decoding: bool, contexts: Contexts
) -> list[R]:
    """All records of one context at once, whichever stand between them."""
    places: dict[SerializationContext, list[int]] = {}
    for place, context in enumerate(contexts):
        places.setdefault(context, []).append(place)
    made = list(records)
    for context, own in places.items():
        mine = [records[place] for place in own]
        inner = edge.with_context(context)
        changed = await _through(mine, inner, what=what, decoding=decoding, contexts=())
        for place, record in zip(own, changed, strict=True):
            made[place] = record
    return made


async def _apply(
    payloads: Sequence[Payload], edge: Edge, *, what: str, decoding: bool
) -> list[Payload]:
    verb = "decoded" if decoding else "encoded"
    try:
        async with asyncio.timeout(EDGE_S_MAX):
            made = await (edge.decode(payloads) if decoding else edge.encode(payloads))
    except TimeoutError as error:
        raise CodecError(
            f"the payloads of {what} were not {verb} within {EDGE_S_MAX:g} s: see that what the"
            " codec or the external storage waits for answers"
        ) from error
    except Exception as error:
        raise CodecError(f"the payloads of {what} cannot be {verb}: {text_of(error)}") from error
    if len(made) != len(payloads):
        raise CodecError(
            f"the payloads of {what} cannot be {verb}: {len(payloads)} were given and {len(made)}"
            " came back; a codec gives one for each, in their order"
        )
    return made


def text_of(error: Exception) -> str:
    """What an error of a codec says, with its kind where that is not ours."""
    if isinstance(error, CodecError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class EdgeLoop:
    """Runs the async calls of an edge to their end on a thread that has no loop of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run one call; what it gives or raises. A loop that runs on this thread steps aside."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        outer = asyncio._get_running_loop()
        task = None if outer is None else asyncio.current_task(outer)
        if outer is not None and task is not None:
            # Newer Pythons allow one current task a thread.
            asyncio.tasks._leave_task(outer, task)
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(call)
        finally:
            asyncio._set_running_loop(outer)
            if outer is not None and task is not None:
                asyncio.tasks._enter_task(outer, task)

    def close(self) -> None:
        """Let go of the loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None


class Door:
    """An edge as a host uses it: to the end, here and now."""

    def __init__(self, edge: Edge | None) -> None:
        self._edge = edge
        self._loop = EdgeLoop()

    @property
    def has_edge(self) -> bool:
        """Whether anything lies behind it; else what goes through stays as it is."""
        return self._edge is not None

    @property
    def is_contextual(self) -> bool:
        """Whether it asks whose values it is given, which records before them may tell."""
        return self._edge is not None and self._edge.is_contextual

    def incoming(
        self, records: Sequence[R], *, what: str, contexts: RecordContexts | None = None
    ) -> list[R]:
        """Records of a run as its code may read them. Raises CodecError."""
        return self._through(decode_records, records, what, contexts)

    def outgoing(
        self, records: Sequence[R], *, what: str, contexts: RecordContexts | None = None
    ) -> list[R]:
        """Records of a run as the log may hold them. Raises CodecError."""
        return self._through(encode_records, records, what, contexts)

    def _through(
        self,
        way: Callable[..., Awaitable[list[R]]],
        records: Sequence[R],
        what: str,
        contexts: RecordContexts | None,
    ) -> list[R]:
        edge = self._edge
        known: Contexts = ()
        if contexts is not None and edge is not None and edge.is_contextual:
            # Before it is seen that they hold no payloads: others are told by what they say.
            known = contexts.of(records)
        if edge is None or not any(payloads_in(record, headers=edge.headers) for record in records):
            return list(records)

        async def call() -> list[R]:
            return await way(records, edge, what=what, contexts=known)

        try:
            return self._loop.run(call())
        except (CodecError, DeadlockError):
            raise
        except BaseException as error:
            # Nobody cancels this loop, or ends it: whatever it is, the codec raised it.
            text = f"{kind_of(error)}: {said_by(error)}"
            raise CodecError(f"the payloads of {what} cannot be changed: {text}") from error

    def close(self) -> None:
        """Let go of the loop."""
        self._loop.close()
