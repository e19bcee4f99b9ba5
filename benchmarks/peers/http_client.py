"""A lean HTTP client: peers' own would cost more than the server that is measured."""

from __future__ import annotations

import asyncio
import json
from typing import Any

BODY_BYTES_MAX = 16 * 1024 * 1024


class LeanHttp:
    """JSON posted over connections that stay open, as many as are needed at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: Any) -> Any:
        """Post a value and return the answer's. Raises RuntimeError unless it is a success."""
        content = json.dumps(body).encode()
        if self._free:
            reader, writer = self._free.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        status, answer = await self._answer(reader)
        self._free.append((reader, writer))
        if not 200 <= status < 300:
            raise RuntimeError(f"{path}: {status}: {answer[:500]!r}")
        return json.loads(answer) if answer else None

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()
        self._free.clear()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = int(lines[0].split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        if fields.get(b"transfer-encoding") == b"chunked":
            parts = []
            while size := int((await reader.readline()).split(b";")[0], 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            await reader.readline()
            return status, b"".join(parts)
        size = int(fields.get(b"content-length", b"0"))
        if size > BODY_BYTES_MAX:
            raise RuntimeError(f"an answer of {size} bytes")
        return status, await reader.readexactly(size)
