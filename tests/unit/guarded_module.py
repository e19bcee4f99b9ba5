"""A workflow module as users write them, with every way to reach a clock; guards are put on it."""

# ruff: noqa: PLW0108 - each name is looked up when it is called, which is the point

from __future__ import annotations

import datetime  # noqa: ICN001 - as users write it
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from datetime import datetime as moment
from os import environ, getenv
from pathlib import Path
from random import randint
from time import sleep
from typing import Any
from uuid import uuid4

from perdure import workflow


@dataclass
class Visit:
    at: datetime.datetime
    day: date
    until: moment | None = None


CALLS: dict[str, Callable[[], Any]] = {
    "time.time": lambda: time.time(),
    "sleep": lambda: sleep(0),
    "time.strftime": lambda: time.strftime("%Y"),
    "datetime.now": lambda: datetime.datetime.now(),  # noqa: DTZ005 - what is tested
    "moment.utcnow": lambda: moment.utcnow(),  # noqa: DTZ003 - the same
    "date.today": lambda: date.today(),  # noqa: DTZ011 - the same
    "random.random": lambda: random.random(),
    "randint": lambda: randint(1, 2),
    "random.Random": lambda: random.Random(),
    "uuid.uuid1": lambda: uuid.uuid1(),
    "uuid4": lambda: uuid4(),
    "os.getpid": lambda: os.getpid(),
    "os.path.exists": lambda: os.path.exists("/"),  # noqa: PTH110 - the same
    "os.environ": lambda: os.environ["HOME"],
    "environ.get": lambda: environ.get("HOME"),
    "getenv": lambda: getenv("HOME"),
    "secrets.token_hex": lambda: secrets.token_hex(),
    "open": lambda: open(__file__).close(),  # noqa: PTH123 - the same
    "socket.socket": lambda: socket.socket().close(),
    "subprocess.run": lambda: subprocess.run(["true"], check=True),
    "threading.Thread": lambda: threading.Thread(target=print).start(),
    "pathlib": lambda: Path(__file__).read_text(),
    "pathlib.iterdir": lambda: list(Path(__file__).parent.iterdir()),
}

HARMLESS: dict[str, Callable[[], Any]] = {
    "datetime()": lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "isinstance": lambda: isinstance(moment(2020, 1, 1), moment),  # noqa: DTZ001 - no zone needed
    "fromisoformat": lambda: moment.fromisoformat("2020-01-01"),
    "fromtimestamp": lambda: datetime.datetime.fromtimestamp(0, datetime.UTC),
    "seeded": lambda: random.Random(7).random(),
    "uuid5": lambda: uuid.uuid5(uuid.NAMESPACE_URL, "x"),
    "UUID": lambda: uuid.UUID(int=1),
    "os.path.join": lambda: os.path.join("a", "b"),  # noqa: PTH118 - what is tested
    "compare": lambda: secrets.compare_digest("a", "b"),
    "error class": lambda: issubclass(subprocess.CalledProcessError, Exception),
    "gmtime": lambda: time.gmtime(0),
    "in a set": lambda: {datetime.datetime, date},
    "union": lambda: moment | None,
    "log": lambda: workflow.logger.warning("fine"),
}


def clock() -> Any:
    """The module's own idea of the time module."""
    return time


@workflow.defn
class Guarded:
    @workflow.run
    async def run(self, name: str) -> str:
        return str(({**CALLS, **HARMLESS})[name]())


@workflow.defn(sandboxed=False)
class Unguarded:
    @workflow.run
    async def run(self, name: str) -> str:
        return str(CALLS[name]())


@workflow.defn
class Unrestricted:
    @workflow.run
    async def run(self) -> bool:
        with workflow.unsafe.sandbox_unrestricted():
            return time.time() > 0


@workflow.defn
class Visiting:
    @workflow.run
    async def run(self, visit: Visit) -> datetime.datetime:
        assert isinstance(visit.at, datetime.datetime)
        assert type(visit.at) == datetime.datetime  # noqa: E721 - the guarded class equals its own
        return visit.at + datetime.timedelta(days=1)
