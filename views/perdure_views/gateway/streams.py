"""Server-sent events to one reader, with backpressure and a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import msgspec
from starlette.types import Message, Receive, Scope, Send

from perdure_views.gateway.endpoints import Said
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.settings import SEND_S
from perdure_views.gateway.shapes import Problem

_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


class EventStream:
    """A response that goes on until its reader leaves, or takes nothing for too long."""

    def __init__(self, first: Said | None, rest: AsyncIterator[Said | None]) -> None:
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError, TimeoutError):
                await sending

    async def _send_all(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await _within(send, start)
        await _within(send, _body(self._first))
        try:
            async for said in self._rest:
                await _within(send, _body(said))
        except ProblemError as problem:
            last = Problem(code=problem.code, message=problem.message, status=problem.status)
            await _within(send, _body(Said(event="fatal", data=last)))
        await _within(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _within(send: Send, message: Message) -> None:
    """Send, or raise TimeoutError when the reader takes nothing."""
    async with asyncio.timeout(SEND_S):
        await send(message)


def _body(said: Said | None) -> Message:
    if said is None:
        # A comment: it shows the reader's other end, and whatever stands between, a live stream.
        return {"type": "http.response.body", "body": b":\n\n", "more_body": True}
    head = f"event: {said.event}\n" + (f"id: {said.id}\n" if said.id else "")
    # On one line: a line break in a text is an escape there, and one between values of a payload,
    # which stands there as its writer wrote it, means as much as a space.
    line = msgspec.json.encode(said.data).translate(_ONE_LINE)
    body = b"%bdata: %b\n\n" % (head.encode(), line)
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
