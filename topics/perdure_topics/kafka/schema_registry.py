"""A schema registry with Confluent's HTTP interface, asked on a thread of its own.

Two rules of the room: nobody who looks a schema up waits for the network, and every wait and every
cache has a bound. A registry that is away is asked again until AWAY_S have passed for an id; only
then is the id given up for a while, so that what waits for it is put aside and not lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from perdure_topics.schema_registry_port import NotToBeHad, OnItsWay, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("perdure.registry")
SCHEMAS_MAX: Final = 1_000
"""So many schemas, and so many refusals, are kept."""
ASKED_MAX: Final = 1_000
"""So many ids may be on their way at once."""
CALL_S: Final = 5.0
AGAIN_S: Final = 0.5
AGAIN_MAX_S: Final = 5.0
UNKNOWN_S: Final = 2.0
"""A registry of several nodes may know an id a moment later on one of them."""
AWAY_S: Final = 600.0
"""So long is a registry asked that does not answer."""
REFUSED_S: Final = 60.0
"""So long is a refusal kept before the id is asked for again."""
PREFIX: Final = "schema.registry."
_NOT_FOUND: Final = 404


class _Wanted:
    """An id that is on its way."""

    __slots__ = ("bells", "problem", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.problem = ""
        self.bells: list[Callable[[], None]] = []


def open_registry(settings: Mapping[str, str]) -> ConfluentRegistry | None:
    """The registry that settings name by `schema.registry.url`; None when they name none.

    Raises ValueError for settings that cannot be used, or when the client is not installed.
    """
    own = {
        name.removeprefix(PREFIX): value
        for name, value in settings.items()
        if name.startswith(PREFIX)
    }
    if not own:
        return None
    if not own.get("url"):
        raise ValueError("settings of a schema registry without schema.registry.url: name it")
    return ConfluentRegistry(own)


class ConfluentRegistry:
    """Schemas by id, kept once they are known: an id never comes to mean another schema."""

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        away_s: float = AWAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings` are the client's, without their prefix: url, basic.auth.user.info, ssl...."""
        self._client = _client(settings)
        self.address = shown(settings["url"])
        self._away_s = away_s
        self._clock = clock
        self._lock = threading.Condition()
        self._known: OrderedDict[int, str] = OrderedDict()
        self._refused: OrderedDict[int, tuple[float, NotToBeHad]] = OrderedDict()
        self._wanted: dict[int, _Wanted] = {}
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def look_up(
        self, schema_id: int, *, on_ready: Callable[[], None]
    ) -> str | OnItsWay | NotToBeHad:
        """The text of a schema if it is here; otherwise it is asked for, and `on_ready` is rung."""
        with self._lock:
            text = self._known.get(schema_id)
            if text is not None:
                self._known.move_to_end(schema_id)
                return text
            refused = self._refused.get(schema_id)
            if refused is not None and self._clock() < refused[0]:
                return refused[1]
            wanted = self._wanted.get(schema_id)
            if wanted is None:
                if len(self._wanted) >= ASKED_MAX:
                    return OnItsWay(f"{ASKED_MAX} other schemas are asked for at {self.address}")
                wanted = self._wanted[schema_id] = _Wanted(self._clock())
                self._begin()
            if on_ready not in wanted.bells:
                wanted.bells.append(on_ready)
            return OnItsWay(wanted.problem)

    def register(self, subject: str, text: str) -> int:
        """Register a schema under a subject, and wait; its id. Raises RegistryError."""
        from confluent_kafka.schema_registry import Schema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return int(self._client.register_schema(subject, Schema(text, "AVRO")))
        except SchemaRegistryError as error:
            raise RegistryError(self._refusal(subject, error)) from error
        except Exception as error:
            # The client lets every error of its HTTP library through.
            raise RegistryError(self._away(error)) from error

    def close(self) -> None:
        """Ask no more."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(2 * CALL_S)
        self._client.close()

    # -- the thread --

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="perdure-registry", daemon=True)
            self._thread.start()
        self._lock.notify_all()

    def _run(self) -> None:
        wait_s = AGAIN_S
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._is_closed or self._wanted)
                if self._is_closed:
                    return
                asked = list(self._wanted)
            failed = False
            for schema_id in asked:
                failed = self._ask(schema_id) or failed
            wait_s = min(2 * wait_s, AGAIN_MAX_S) if failed else AGAIN_S
            if failed:
                with self._lock:
                    self._lock.wait_for(lambda: self._is_closed, wait_s)

    def _ask(self, schema_id: int) -> bool:
        """Ask for one schema; whether it must be asked for again."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            schema = self._client.get_schema(schema_id)
            # What is kept, and how much of it, is decided here.
            self._client.clear_caches()
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return self._not_yet(
                    schema_id,
                    UNKNOWN_S,
                    f"the schema registry at {self.address} has no schema with id {schema_id}: was"
                    " the record written for another registry?",
                )
            return self._not_yet(schema_id, self._away_s, self._refusal(f"id {schema_id}", error))
        except Exception as error:
            # The client lets every error of its HTTP library through.
            return self._not_yet(schema_id, self._away_s, self._away(error))
        refusal = _unfit(schema, schema_id)
        if refusal:
            self._refuse(schema_id, refusal)
        else:
            self._settle(schema_id, schema.schema_str)
        return False

    def _not_yet(self, schema_id: int, limit_s: float, problem: str) -> bool:
        """Ask again within the limit, and give the id up behind it."""
        with self._lock:
            wanted = self._wanted[schema_id]
            is_news = problem != wanted.problem
            wanted.problem = problem
            waited_s = self._clock() - wanted.since_s
            bells = list(wanted.bells)
        if waited_s >= limit_s:
            self._refuse(schema_id, f"{problem} (asked for {waited_s:.0f} s)")
            return False
        if is_news:
            for ring in bells:
                ring()
        return True

    def _refuse(self, schema_id: int, reason: str) -> None:
        with self._lock:
            self._refused[schema_id] = (self._clock() + REFUSED_S, NotToBeHad(reason))
            self._refused.move_to_end(schema_id)
            if len(self._refused) > SCHEMAS_MAX:
                self._refused.popitem(last=False)
        self._ring(schema_id)

    def _settle(self, schema_id: int, text: str) -> None:
        with self._lock:
            self._known[schema_id] = text
            if len(self._known) > SCHEMAS_MAX:
                self._known.popitem(last=False)
        self._ring(schema_id)

    def _ring(self, schema_id: int) -> None:
        with self._lock:
            bells = self._wanted.pop(schema_id).bells
        for ring in bells:
            ring()

    # -- what is said --

    def _refusal(self, what: str, error: Any) -> str:
        status = error.http_status_code
        said = f"the schema registry at {self.address} refused {what}: {error.error_message}"
        if status in (401, 403):
            return (
                f"{said} (HTTP {status}): set schema.registry.basic.auth.user.info, or its rights"
            )
        if status == 409:
            return (
                f"{said} (HTTP 409): the subject holds a schema that this one is not compatible"
                " with; look at its versions, or set the subject's compatibility"
            )
        return f"{said} (HTTP {status})"

    def _away(self, error: Exception) -> str:
        return (
            f"the schema registry at {self.address} does not answer ({type(error).__name__}:"
            f" {error}): is it running, and is schema.registry.url right?"
        )


def _unfit(schema: Any, schema_id: int) -> str:
    """Why a schema is none that records of ours are written with."""
    if schema.schema_type not in (None, "AVRO"):
        return f"schema {schema_id} of the registry is {schema.schema_type}; commands are Avro"
    if schema.references:
        return (
            f"schema {schema_id} of the registry refers to other schemas: register it as one text,"
            " as `perdure schemas --register` does"
        )
    return ""


def shown(url: str) -> str:
    """An address, or several with commas, as they may be shown: without user and password."""
    return ",".join(
        urlsplit(one)._replace(netloc=urlsplit(one).netloc.rpartition("@")[2]).geturl()
        for one in url.split(",")
    )


def _client(settings: Mapping[str, str]) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ValueError(
            f"a schema registry needs more than is installed ({error}):"
            " pip install 'perdure[registry]'"
        ) from error
    # Asking again is this module's: the client would wait up to 20 s between its own retries.
    limits = {"timeout": CALL_S, "max.retries": 0}
    try:
        return SchemaRegistryClient({**settings, **limits})
    except (ValueError, TypeError, OSError) as error:
        said = str(error).replace(settings["url"], shown(settings["url"]))
        text = f"the settings of the schema registry cannot be used: {said}"
        raise ValueError(text) from None
