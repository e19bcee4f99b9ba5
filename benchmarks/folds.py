"""A take-over without what is around it: one partition's log read and folded into a new table."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from statistics import median
from typing import Any

from benchmarks.history import write_history
from benchmarks.stage import Stage
from perdure._assembly import open_log
from perdure_actors import table_layout
from perdure_actors.partition.recovery import Recovery
from perdure_topics.names import topic_name
from perdure_topics.ports import Log, Tail
from perdure_topics.tables.rocksdb_tables import RocksTableStore

TAKE_MAX = 500
TIMES = 3


def _drained(tail: Tail, topic: str, end: int, rung: threading.Event, recovery: Recovery) -> None:
    tail.assign(topic, 0, 0)
    while recovery.next_offset < end:
        rung.clear()
        records = tail.take(topic, 0, TAKE_MAX)
        for record in records:
            recovery.take(record)
        if not records:
            rung.wait(1.0)


def _fold(log: Log, topic: str, end: int) -> tuple[float, float, float]:
    """The seconds that one fold took: by the clock, of its own thread, of the process."""
    rung = threading.Event()
    tail = log.tail(on_ready=rung.set, committed=False)
    with tempfile.TemporaryDirectory(prefix="perdure-fold-") as directory:
        store = RocksTableStore(directory)
        table = store.open("folded")
        began = time.perf_counter(), time.thread_time(), time.process_time()
        recovery = Recovery(table, table_layout.Meta(), table_layout.Verified())
        _drained(tail, topic, end, rung, recovery)
        recovery.finish()
        took = time.perf_counter(), time.thread_time(), time.process_time()
        table.close()
        store.close()
    tail.close()
    return took[0] - began[0], took[1] - began[1], took[2] - began[2]


async def folds(stage: Stage) -> dict[str, Any]:
    """A history of runs that open and close, in one partition, folded by nothing else."""
    count = int(os.environ.get("PERDURE_BENCH_FOLDED", "30000"))
    steps = int(os.environ.get("PERDURE_BENCH_RUN_STEPS", "5"))
    target = stage.target
    if stage.log == "embedded":
        target = stage.target = f"file:{stage.directory / 'data'}"
        stage.make_topics()
    log, close = open_log(target)
    try:
        write_history(log, stage.namespace, stage.queue, range(count), steps=steps)
        topic = topic_name("events", stage.namespace, stage.queue)
        end = log.offsets(topic, 0)[1]
        took = [_fold(log, topic, end) for _ in range(TIMES)]
    finally:
        close()
    wall, own, whole = (sorted(column) for column in zip(*took, strict=True))
    return {
        "fold, records/s: median (best)": f"{end / median(wall):,.0f} ({end / wall[0]:,.0f})",
        "fold, CPU µs a record: its thread": 1e6 * median(own) / end,
        "fold, CPU µs a record: the process": 1e6 * median(whole) / end,
    }
