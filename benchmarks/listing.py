"""Finding runs among many: how long a list of 50 takes, by status, attribute and more."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.history import write_runs
from perdure._assembly import open_log
from perdure_topics.task_queue_topics import create_topics

if TYPE_CHECKING:
    from benchmarks.stage import Stage
    from perdure.client import Client

QUERIES = {
    "no filter": "",
    "by status": "ExecutionStatus = 'Failed'",
    "by search attribute": "Customer = 'customer-7'",
    "by search attribute, another value each time": "Customer = 'customer-{number}'",
    "by both": "Customer = 'customer-7' AND ExecutionStatus = 'Running'",
    "by workflow id": "WorkflowId = 'run-77'",
    "sorted by close time": "ExecutionStatus = 'Completed' ORDER BY CloseTime DESC",
}
WARM = 300
"""Lists before the clock runs: a broker that was just started compiles its code first."""
TIMES = 101
COUNTS = {
    "by status": "GROUP BY ExecutionStatus",
    "by search attribute": "Customer = 'customer-7'",
    "by what no index has": "HistoryLength > 1",
}


async def listing(stage: Stage) -> dict[str, Any]:
    """100,000 runs in the log, found by a host that has folded them: p50 of a list of 50."""
    count = int(os.environ.get("PERDURE_BENCH_RUNS", "100000"))
    where = f"file:{stage.directory / 'data'}" if stage.log == "embedded" else stage.target
    log, close = open_log(where)
    if stage.log == "embedded":
        create_topics(log, stage.namespace, stage.queue, partitions=stage.partitions)
    write_runs(log, stage.namespace, stage.queue, count, int(time.time() * 1000))
    close()
    stage.start_host()
    client = await stage.client()
    # The host folds the whole log first.
    counted = await client.count_workflows(rpc_timeout=timedelta(minutes=8))
    assert counted.count == count
    for _ in range(WARM):
        await _list(client, "")
    figures: dict[str, Any] = {}
    for label, query in QUERIES.items():
        took_ms, found = await _median_ms(client, query)
        figures[f"list of {found} among {count:,} runs, p50 ms: {label}"] = took_ms
    for label, query in COUNTS.items():
        began = time.perf_counter()
        await client.count_workflows(query)
        figures[f"count of {count:,} runs, ms: {label}"] = (time.perf_counter() - began) * 1000
    return figures


async def _list(client: Client, query: str) -> list[str]:
    return [run.id async for run in client.list_workflows(query, limit=50, page_size=50)]


async def _median_ms(client: Client, query: str) -> tuple[float, int]:
    """The middle of so many lists; one with a number in it asks for another each time."""
    took: list[float] = []
    found: list[str] = []
    for number in range(TIMES):
        began = time.perf_counter()
        found = await _list(client, query.format(number=number))
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)[TIMES // 2], len(found)
