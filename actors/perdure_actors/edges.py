"""The edge of this process: where payloads are encoded on their way out and decoded on the way in.

What lies behind it, a codec or a store of large payloads, is the user's and may wait for others;
so it is async, and nothing that decides or replays ever calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from perdure_schemas.payload_places import payloads_in, with_payloads
from perdure_schemas.payloads import Payload, Record

EDGE_S_MAX = 10.0
"""How long the payloads of one record or transition may take to be encoded or decoded."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Edge(Protocol):
    """What payloads go through when they leave this process, and when they come in."""

    @property
    def headers(self) -> bool:
        """Whether headers go through it as well."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they may leave."""

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they were before `encode`."""


class CodecError(ValueError):
    """Payloads could not be encoded or decoded: the codec, its key or the store is at fault."""


async def encode_records(records: Sequence[R], edge: Edge | None, *, what: str) -> list[R]:
    """Records whose payloads may leave. Raises CodecError when they cannot be encoded."""
    return await _through(records, edge, what=what, decoding=False)


async def decode_records(records: Sequence[R], edge: Edge | None, *, what: str) -> list[R]:
    """Records as user code may read them. Raises CodecError when they cannot be decoded."""
    return await _through(records, edge, what=what, decoding=True)


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
    records: Sequence[R], edge: Edge | None, *, what: str, decoding: bool
) -> list[R]:
    if edge is None:
        return list(records)
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

    def incoming(self, records: Sequence[R], *, what: str) -> list[R]:
        """Records as workflow code may read them. Raises CodecError."""
        return self._through(decode_records, records, what)

    def outgoing(self, records: Sequence[R], *, what: str) -> list[R]:
        """Records as the log may hold them. Raises CodecError."""
        return self._through(encode_records, records, what)

    def _through(
        self, way: Callable[..., Awaitable[list[R]]], records: Sequence[R], what: str
    ) -> list[R]:
        edge = self._edge
        if edge is None or not any(payloads_in(record, headers=edge.headers) for record in records):
            return list(records)

        async def call() -> list[R]:
            return await way(records, edge, what=what)

        return self._loop.run(call())

    def close(self) -> None:
        """Let go of the loop."""
        self._loop.close()
