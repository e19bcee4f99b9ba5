"""A real gateway before a real engine, on threads of its own: what every web test asks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx

from perdure._gateway.serve import serving, serving_engine
from perdure.client import Client
from perdure.worker import Worker
from perdure_views.gateway.settings import Settings
from tests.web.shop import ACTIVITIES, TASK_QUEUE, WORKFLOWS

T = TypeVar("T")
CSRF = "x-perdure-csrf"


class Site:
    """An engine with a worker, and gateways before it. Its loop runs on a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self.client: Client
        self.url = self.run(self._open())

    def run(self, what: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        """Run a coroutine on the site's loop."""
        running: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(what, self._loop)
        return running.result(timeout_s)

    async def _open(self) -> str:
        self.client = await Client.connect(f"file:{self._directory}", identity="the site")
        self._stack.push_async_callback(self.client.close)
        worker = Worker(
            self.client, task_queue=TASK_QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES
        )
        await self._stack.enter_async_context(worker)
        return await self._stack.enter_async_context(serving_engine(self.client, Settings(port=0)))

    def serve(self, settings: Settings) -> str:
        """Another gateway before the same engine; its address."""
        return self.run(self._stack.enter_async_context(serving(self.client, settings)))

    def start(self, workflow: str, *args: Any, id: str) -> str:
        """Start a workflow of the shop; its run id."""

        async def go() -> str:
            handle = await self.client.start_workflow(
                workflow, args=args, id=id, task_queue=TASK_QUEUE
            )
            return handle.first_execution_run_id or ""

        return self.run(go())

    def execute(self, workflow: str, *args: Any, id: str) -> Any:
        """Run a workflow of the shop to its end."""
        return self.run(
            self.client.execute_workflow(workflow, args=args, id=id, task_queue=TASK_QUEUE)
        )

    def result(self, id: str) -> Any:
        """What a workflow returned, once its newest run has."""
        return self.run(self.client.get_workflow_handle(id).result())

    def close(self) -> None:
        """Stop everything."""
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Caller:
    """Somebody who asks a gateway as a browser's page does: with the CSRF token."""

    def __init__(self, url: str, **options: Any) -> None:
        self.http = httpx.Client(base_url=url, timeout=30.0, **options)
        me = self.http.get("/api/v1/me")
        self.csrf = me.json()["csrf"] if me.status_code == 200 else ""

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={CSRF: self.csrf, **headers})

    def close(self) -> None:
        self.http.close()
