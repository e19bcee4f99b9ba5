"""`odd_headers BROKER TOPIC PARTITION`: records with a header whose name is no text.

No client of librdkafka's writes one; any other producer can.
"""

from __future__ import annotations

import asyncio
import os
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"  # its C code would not take the name below


class NoText(str):
    """A name whose bytes are no UTF-8."""

    __slots__ = ()

    def encode(self, *_how: str) -> bytes:
        """As its producer writes it."""
        return b"\xff\xfe"


async def main(broker: str, topic: str, partition: int) -> None:
    """Write a few such records, and honest ones between them."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for number in range(40):
        name = NoText("x") if number % 2 else "x"
        await producer.send(topic, b"junk", partition=partition, headers=[(name, b"y")])
    await producer.flush()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
