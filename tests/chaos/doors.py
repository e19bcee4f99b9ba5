"""python -m tests.chaos.doors LISTEN:UPSTREAM ...: doors to a broker that can be shut, each way.

One a process of the stage, so that one is cut off and the others are not. Told on standard input:
`shut PORT up|down|both`, `open PORT`. What is held is kept and goes on when the door opens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

CHUNK = 65_536


class Door:
    """A listening port before another, and whether bytes pass it in each direction."""

    def __init__(self, listen: int, upstream: int) -> None:
        self._listen = listen
        self._upstream = upstream
        self._ways = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._pipes: set[asyncio.Task[None]] = set()
        self.open()

    async def serve(self) -> None:
        """Take connections."""
        await asyncio.start_server(self._take, "127.0.0.1", self._listen)

    def open(self) -> None:
        """Let everything pass."""
        for way in self._ways.values():
            way.set()

    def shut(self, which: str) -> None:
        """Hold what goes up, comes down, or both."""
        for name, way in self._ways.items():
            if which in (name, "both"):
                way.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.close()
            return
        for one in (writer, far_writer):
            raw = one.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, way in (
            (reader, far_writer, self._ways["up"]),
            (far_reader, writer, self._ways["down"]),
        ):
            pipe = asyncio.create_task(_pipe(source, sink, way))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)


async def _pipe(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK):
            await way.wait()
            sink.write(data)
            await sink.drain()
    # An end is news, too: it does not pass a door that is shut.
    await way.wait()
    sink.close()


async def main(pairs: list[str]) -> None:
    """Serve all doors until standard input ends."""
    doors = {}
    for pair in pairs:
        listen, upstream = map(int, pair.split(":"))
        doors[listen] = Door(listen, upstream)
        await doors[listen].serve()
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    print("ready", flush=True)
    while line := (await words.readline()).decode().split():
        if line[0] == "shut":
            doors[int(line[1])].shut(line[2])
        else:
            doors[int(line[1])].open()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
