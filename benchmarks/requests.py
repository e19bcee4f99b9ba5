"""What Kafka's clients ask of the broker: their own statistics, written to files while they run.

Every process of a stage imports `benchmarks.app`, which calls `count_requests` where the stage
names a folder; nothing of this is in the product.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from perdure_topics.kafka import settings

FOLDER: Final = "PERDURE_BENCH_REQUESTS"
"""The environment variable that names the folder."""
COMPRESSION: Final = "PERDURE_BENCH_COMPRESSION"
"""That of what producers write is compressed with."""
EVERY_MS: Final = 1_000
KINDS: Final = ("Produce", "Fetch", "Metadata", "OffsetCommit", "Heartbeat")

_PLAIN: Final = settings.shared_settings


def count_requests() -> None:
    """Have clients that this process opens write what they have asked, where a stage wants it."""
    settings.shared_settings = _counting


def _counting(bootstrap: str, extra: settings.Settings) -> settings.Settings:
    plain = _PLAIN(bootstrap, extra)
    if FOLDER not in os.environ:
        return plain
    folder = Path(os.environ[FOLDER])

    def write(text: str) -> None:
        found = json.loads(text)
        with suppress(FileNotFoundError):  # The stage is gone, the client not yet.
            _write(folder / f"{os.getpid()}-{found['name']}.json", found)

    more = {"compression.type": os.environ.get(COMPRESSION, "none")}
    return {**plain, **more, "statistics.interval.ms": EVERY_MS, "stats_cb": write}


def requests_in(folder: Path) -> Counter[str]:
    """The sums over all clients: requests by kind; what producers sent, and their wake-ups."""
    total: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        total.update(json.loads(path.read_text()))
    return total


def _write(path: Path, found: dict[str, Any]) -> None:
    asked: Counter[str] = Counter()
    for broker in found["brokers"].values():
        asked.update({kind: broker["req"].get(kind, 0) for kind in KINDS})
        if found["type"] == "producer":
            asked["wakeups"] += broker["wakeups"]
            asked["bytes"] += broker["txbytes"]
    # Renamed, so that whoever reads sees all of it.
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(asked))
    partial.rename(path)
