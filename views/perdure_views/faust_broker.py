"""The broker settings of a Faust app, from the settings that all of Perdure uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka as driver

SESSION_S: Final = 10.0
"""A process that died has lost its partitions to others after so long; Faust's own is 60 s."""
LIFE_SIGN: Final[Mapping[str, Any]] = {
    "broker_session_timeout": SESSION_S,
    "broker_heartbeat_interval": SESSION_S / 4,
}
"""What an app is told of how it shows the broker that it lives."""


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Faust's reader, of what has been committed: Faust asks for that with its own transactions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read when it starts, which is later.
        consumer._isolation_level = "read_committed"
        return consumer


class _CommittedConsumer(driver.Consumer):
    def _new_consumer_thread(self) -> Any:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


def read_committed(app: faust.App) -> None:
    """Let an app see no record of a transaction that was rolled back, or is open."""
    transport: Any = app.transport
    transport.Consumer = _CommittedConsumer


def lags(app: faust.App) -> dict[tuple[str, int], int]:
    """How many records of each partition that the app has are not done with, as far as it knows."""
    consumer: Any = app.consumer
    reader = consumer._thread._consumer
    found = {}
    for place in list(consumer.assignment()):
        state = reader._subscription.subscription.assignment.state_value(place)
        end, read = state.highwater, consumer._read_offset.get(place)
        if end is None or not state.has_valid_position:
            continue
        # What was acted on is committed within a second. Behind the last record there may be marks
        # of transactions, which are nothing to be done with, and which only the reader has passed.
        done = consumer._committed_offset.get(place)
        is_done = read is None or done is None or done > read
        found[place.topic, place.partition] = max(0, end - (state.position if is_done else done))
    return found


def broker_urls(bootstrap: str) -> list[str]:
    """The servers of a target as Faust names them."""
    servers = (server.strip() for server in bootstrap.split(","))
    return [f"kafka://{server if ':' in server else f'{server}:9092'}" for server in servers]


def credentials(way: Mapping[str, Any]) -> Any:
    """Faust's credentials of aiokafka's keyword arguments; None where nothing is asked for."""
    protocol = way["security_protocol"]
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(way["ssl_context"])
    return faust.SASLCredentials(
        mechanism=way["sasl_mechanism"],
        username=way["sasl_plain_username"],
        password=way["sasl_plain_password"],
        ssl_context=way.get("ssl_context"),
    )
