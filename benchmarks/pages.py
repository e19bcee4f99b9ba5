"""The pages with many runs: how soon a cold browser shows them, and what the gateway answers."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Any

import httpx
from playwright.async_api import Playwright, async_playwright

from benchmarks.history import write_runs
from benchmarks.stage import Stage
from perdure._assembly import open_log
from perdure.client import Client, RPCError
from perdure_topics.task_queue_topics import create_topics

RUNS = 100_000
LOOKS = 5
REQUESTS = 1_000
AT_ONCE = 16
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
VIEWS = {
    "newest": "/",
    "by status": "/workflows?status=failed",
    "by type": "/workflows?type=Type3",
    "by status and type": "/workflows?status=completed&type=Type3",
    "by chips and a typed filter": "/workflows?status=failed&query=Customer+%3D+%27customer-7%27",
}
# The page's own clock, from the start of the navigation to the first row that stands there.
STAMP = """
new MutationObserver((_, watch) => {
  if (!document.querySelector("table.runs tbody tr")) return;
  watch.disconnect();
  requestAnimationFrame(() => { window.firstRowMs = performance.now(); });
}).observe(document, { childList: true, subtree: true });
"""
STAMPED = """
() => new Promise((done) => {
  const look = () => window.firstRowMs ? done(window.firstRowMs) : requestAnimationFrame(look);
  look();
})
"""


async def pages(stage: Stage) -> dict[str, Any]:
    """First views with 100,000 runs, and requests of the JSON API."""
    await asyncio.to_thread(_write, stage)
    stage.start_host()
    client = await stage.client()
    try:
        await _owned(client, stage)
        url = await asyncio.to_thread(stage.start_gateway)
        figures = {}
        chromium = shutil.which("chromium")
        if chromium:
            async with async_playwright() as driver:
                filters = await _answers_filters(url)
                for name, path in VIEWS.items():
                    if "?" in path and not filters:
                        continue
                    seen = await _looks(driver, chromium, url + path)
                    figures[f"first view of {RUNS:,} runs, {name}: ms, median of {LOOKS}"] = seen
        for name, path in {
            "describe": "/api/v1/workflow?id=run-{number}&queue=" + stage.queue,
            "list of 50": "/api/v1/workflows",
        }.items():
            rate, p50 = await _requests(url, path)
            figures[f"gateway, {name}: requests/s with {AT_ONCE} at once"] = rate
            figures[f"gateway, {name}: p50 ms, one at a time"] = p50
        return figures
    finally:
        await client.close()


def _write(stage: Stage) -> None:
    where = f"file:{stage.directory / 'data'}" if stage.log == "embedded" else stage.target
    log, close = open_log(where)
    try:
        if stage.log == "embedded":
            create_topics(log, stage.namespace, stage.queue, partitions=stage.partitions)
        write_runs(log, stage.namespace, stage.queue, RUNS, int(time.time() * 1000))
    finally:
        close()


async def _owned(client: Client, stage: Stage) -> None:
    """Wait until the host has read all of it."""
    while True:
        try:
            found = await client.count_workflows(task_queue=stage.queue)
        except RPCError:
            continue
        if found.count == RUNS:
            return


async def _answers_filters(url: str) -> bool:
    """Whether hosts of this release take list filters."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        query = {"query": "WorkflowType = 'Type3'", "limit": "1"}
        return (await http.get("/api/v1/workflows", params=query)).status_code == 200


async def _looks(driver: Playwright, chromium: str, url: str) -> float | str:
    """Milliseconds until a browser that was just started shows the first row."""
    seen = []
    for _ in range(LOOKS):
        browser = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            page = await browser.new_page()
            await page.add_init_script(STAMP)
            await page.goto(url)
            await page.wait_for_selector("table.runs tbody tr", timeout=30_000)
            seen.append(float(await page.evaluate(STAMPED)))
        finally:
            await browser.close()
    return sorted(seen)[len(seen) // 2]


async def _requests(url: str, path: str) -> tuple[float, float]:
    """Requests a second with some at once, and the median of one after the other."""
    numbers = iter(range(RUNS - 1, 0, -37))
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def one() -> float:
            began = time.perf_counter()
            answer = await http.get(path.format(number=next(numbers)))
            assert answer.status_code == 200, answer.text
            return time.perf_counter() - began

        async def many(count: int) -> None:
            for _ in range(count):
                await one()

        alone = sorted([await one() for _ in range(200)])
        began = time.perf_counter()
        await asyncio.gather(*(many(REQUESTS // AT_ONCE) for _ in range(AT_ONCE)))
        took = time.perf_counter() - began
    return (REQUESTS // AT_ONCE) * AT_ONCE / took, alone[len(alone) // 2] * 1000
