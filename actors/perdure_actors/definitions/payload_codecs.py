"""Payload codecs at the boundary of a process: payloads encoded going out, decoded coming in.

What lies behind it, a codec or a store of large payloads, is the user's and may wait for others;
so it is async, runs on a thread of its own, and nothing that decides or replays ever calls it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure_actors.replay.raised import is_for_others
from perdure_schemas.contexts import SerializationContext
from perdure_schemas.payload_places import payloads_in, with_payloads
from perdure_schemas.payloads import Payload, Record

if TYPE_CHECKING:
    from perdure_actors.replay.contexts import RecordContexts

GRACE_S = 2.0
CLOSE_S_MAX = 5.0
HELD_S = 0.05
"""So long a call waits for a loop that does not turn before another one takes it."""
LOOPS_MAX = 16
EDGE_S_MAX = 10.0
"""How long the payloads of one record or transition may take to be encoded or decoded."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class PayloadCodecs(Protocol):
    """What payloads go through when they leave this process, and when they come in."""

    @property
    def headers(self) -> bool:
        """Whether headers go through it as well."""

    @property
    def is_contextual(self) -> bool:
        """Whether it wants to know whose payloads it is given."""

    def with_context(self, context: SerializationContext) -> PayloadCodecs:
        """The codecs as they work in a context."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they may leave."""

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """As many payloads, as they were before `encode`."""


class CodecError(ValueError):
    """Payloads could not be encoded or decoded: the codec, its key or the store is at fault."""


Contexts = Sequence[SerializationContext]
"""Whose payloads each record holds; none where that is not known."""


async def encode_records(
    records: Sequence[R], codecs: PayloadCodecs | None, *, what: str, contexts: Contexts = ()
) -> list[R]:
    """Records whose payloads may leave. Raises CodecError when they cannot be encoded."""
    return await _through(records, codecs, what=what, decoding=False, contexts=contexts)


async def decode_records(
    records: Sequence[R], codecs: PayloadCodecs | None, *, what: str, contexts: Contexts = ()
) -> list[R]:
    """Records as user code may read them. Raises CodecError when they cannot be decoded."""
    return await _through(records, codecs, what=what, decoding=True, contexts=contexts)


async def encode_payloads(
    payloads: Sequence[Payload], codecs: PayloadCodecs | None, *, what: str
) -> list[Payload]:
    """Payloads as they may leave. Raises CodecError when they cannot be encoded."""
    if codecs is None or not payloads:
        return list(payloads)
    return await _apply(payloads, codecs, what=what, decoding=False)


async def decode_payloads(
    payloads: Sequence[Payload], codecs: PayloadCodecs | None, *, what: str
) -> list[Payload]:
    """Payloads as they were before they left. Raises CodecError when they cannot be decoded."""
    if codecs is None or not payloads:
        return list(payloads)
    return await _apply(payloads, codecs, what=what, decoding=True)


async def _through(
    records: Sequence[R],
    codecs: PayloadCodecs | None,
    *,
    what: str,
    decoding: bool,
    contexts: Contexts,
) -> list[R]:
    if codecs is None:
        return list(records)
    if contexts and codecs.is_contextual:
        return await _by_context(records, codecs, what=what, decoding=decoding, contexts=contexts)
    headers = codecs.headers
    found = [payloads_in(record, headers=headers) for record in records]
    flat = [payload for payloads in found for payload in payloads]
    if not flat:
        return list(records)
    made = iter(await _apply(flat, codecs, what=what, decoding=decoding))
    return [
        with_payloads(record, made, headers=headers) if payloads else record
        for record, payloads in zip(records, found, strict=True)
    ]


def codecs_in_context(
    codecs: PayloadCodecs, context: SerializationContext, *, what: str
) -> PayloadCodecs:
    """The codecs for the payloads of a context, where they ask for it.

    Raises CodecError when they cannot be put into it.
    """
    if not codecs.is_contextual:
        return codecs
    try:
        return codecs.with_context(context)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise CodecError(f"the codec for {what} cannot be had: {text_of(error)}") from error


async def _by_context(
    records: Sequence[R], codecs: PayloadCodecs, *, what: str, decoding: bool, contexts: Contexts
) -> list[R]:
    """All records of one context at once, whichever stand between them."""
    places: dict[SerializationContext, list[int]] = {}
    for place, context in enumerate(contexts):
        places.setdefault(context, []).append(place)
    made = list(records)
    for context, own in places.items():
        mine = [records[place] for place in own]
        inner = codecs_in_context(codecs, context, what=what)
        changed = await _through(mine, inner, what=what, decoding=decoding, contexts=())
        for place, record in zip(own, changed, strict=True):
            made[place] = record
    return made


async def _apply(
    payloads: Sequence[Payload], codecs: PayloadCodecs, *, what: str, decoding: bool
) -> list[Payload]:
    verb = "decoded" if decoding else "encoded"
    try:
        async with asyncio.timeout(EDGE_S_MAX):
            made = await (codecs.decode(payloads) if decoding else codecs.encode(payloads))
    except TimeoutError as error:
        raise CodecError(
            f"the payloads of {what} were not {verb} within {EDGE_S_MAX:g} s: see that what the"
            " codec or the external storage waits for answers"
        ) from error
    except BaseException as error:
        if is_for_others(error):
            raise
        raise CodecError(f"the payloads of {what} cannot be {verb}: {text_of(error)}") from error
    if len(made) != len(payloads):
        raise CodecError(
            f"the payloads of {what} cannot be {verb}: {len(payloads)} were given and {len(made)}"
            " came back; a codec gives one for each, in their order"
        )
    return made


def text_of(error: BaseException) -> str:
    """What an error of a codec says, with its kind where that is not ours."""
    if isinstance(error, CodecError):
        return str(error)
    try:
        said = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class CodecLoop:
    """Runs the async calls of codecs on a thread of its own, many at once.

    A call that does not yield holds its thread: those behind it are taken by another, with a loop
    of its own. A codec that awaits what it waits for sees one loop only.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Coroutine[Any, Any, Any], Future[Any], float]] = deque()
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._threads: list[threading.Thread] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._is_closed = False
        self._next = 0

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a call; what it gives or raises comes by the future."""
        future: Future[T] = Future()
        with self._lock:
            self._is_closed = False
            self._calls.append((call, future, time.monotonic()))
            if not self._loops:
                self._add_loop()
                self._start("perdure-codecs-rest", self._look_after)
            self._loops[0].call_soon_threadsafe(self._take)
        self._woken.set()
        return future

    def _start(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _add_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        self._loops.append(loop)
        self._start("perdure-codecs", partial(_run, loop))
        return loop

    def _take(self) -> None:
        """Begin what waits, on the loop that is running."""
        while True:
            try:
                call, future, _ = self._calls.popleft()
            except IndexError:
                return
            if not future.set_running_or_notify_cancel():
                call.close()
                continue
            task = asyncio.get_running_loop().create_task(_fenced(call))
            self._tasks.add(task)
            task.add_done_callback(partial(self._settle, future))

    def _settle(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            future.set_exception(CodecError("the codec was stopped"))
        elif (error := task.exception()) is not None:
            future.set_exception(error if isinstance(error, Exception) else _raised(error))
        else:
            future.set_result(task.result())

    def _look_after(self) -> None:
        """Give what has waited for a loop that does not turn to another one."""
        while not self._is_closed:
            self._woken.wait()
            try:
                since_s = self._calls[0][2]
            except IndexError:
                self._woken.clear()
                if self._calls or self._is_closed:
                    self._woken.set()
                continue
            left_s = since_s + HELD_S - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
                continue
            with self._lock:
                if not self._is_closed:
                    self._another().call_soon_threadsafe(self._take)
            time.sleep(HELD_S)

    def _another(self) -> asyncio.AbstractEventLoop:
        self._next += 1
        if self._next >= len(self._loops) and len(self._loops) < LOOPS_MAX:
            return self._add_loop()
        return self._loops[self._next % len(self._loops)]

    def close(self) -> None:
        """Let go of the loops, and of what still runs on them."""
        with self._lock:
            loops, threads = self._loops, self._threads
            self._loops, self._threads, self._next = [], [], 0
            self._is_closed = True
            self._woken.set()
        for loop in loops:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
        for thread in threads:
            thread.join(CLOSE_S_MAX)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    is_running = True
    while is_running:
        try:
            loop.run_forever()
            is_running = False
        except (KeyboardInterrupt, SystemExit):
            # A task of a codec raised it; who waits for that task hears of it there.
            continue
    loop.close()


async def _fenced(call: Coroutine[Any, Any, T]) -> T:
    """A call that ends no loop, whatever a codec raises: asyncio lets these two through."""
    try:
        return await call
    except (KeyboardInterrupt, SystemExit) as error:
        raise _raised(error) from error


def _raised(error: BaseException) -> CodecError:
    """What a codec raised that is no Exception: a fault of the codec, and of nobody else."""
    return CodecError(f"a payload codec or a store of payloads raised {text_of(error)}")


async def _cancel_all() -> None:
    """End a loop once what runs on it has been cancelled."""
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not own]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=CLOSE_S_MAX / 2)
    loop.stop()


class CodecBoundary:
    """Payload codecs as a host uses them: a wait holds up a run, and never its thread."""

    def __init__(self, codecs: PayloadCodecs | None) -> None:
        self._codecs = codecs
        self._loop = CodecLoop()

    @property
    def has_codecs(self) -> bool:
        """Whether anything lies behind it; else what goes through stays as it is."""
        return self._codecs is not None

    @property
    def is_contextual(self) -> bool:
        """Whether it asks whose values it is given, which records before them may tell."""
        return self._codecs is not None and self._codecs.is_contextual

    def incoming(
        self, records: Sequence[R], *, what: str, contexts: RecordContexts | None = None
    ) -> list[R]:
        """Records of a run as its code may read them. Raises CodecError."""
        if self._codecs is None:
            return list(records)
        return self._wait([self._begin(decode_records, records, what, contexts)], what)[0]

    def incoming_batches(
        self, batches: Sequence[tuple[Sequence[R], str]], *, contexts: RecordContexts | None = None
    ) -> list[list[R]]:
        """The same for several batches of records, all at once; each says what it is."""
        begun = [self._begin(decode_records, records, what, contexts) for records, what in batches]
        return self._wait(begun, batches[0][1] if batches else "")

    def outgoing(
        self, records: Sequence[R], *, what: str, contexts: RecordContexts | None = None
    ) -> list[R]:
        """Records of a run as the log may hold them. Raises CodecError."""
        if self._codecs is None:
            return list(records)
        return self._wait([self._begin(encode_records, records, what, contexts)], what)[0]

    def _begin(
        self,
        way: Callable[..., Awaitable[list[R]]],
        records: Sequence[R],
        what: str,
        contexts: RecordContexts | None,
    ) -> list[R] | Callable[[], Awaitable[list[R]]]:
        """The records as they are, where none holds a payload; else the call that changes them."""
        codecs = self._codecs
        known: Contexts = ()
        if contexts is not None and codecs is not None and codecs.is_contextual:
            # Before it is seen that they hold no payloads: others are told by what they say.
            known = contexts.of(records)
        if codecs is None or not any(
            payloads_in(record, headers=codecs.headers) for record in records
        ):
            return list(records)
        return lambda: way(records, codecs, what=what, contexts=known)

    def _wait(
        self, begun: list[list[R] | Callable[[], Awaitable[list[R]]]], what: str
    ) -> list[list[R]]:
        calls = [one for one in begun if not isinstance(one, list)]
        if not calls:
            return [one for one in begun if isinstance(one, list)]

        async def call() -> list[list[R]]:
            return list(await asyncio.gather(*(one() for one in calls)))

        # Only hosts wait in a turn of theirs; clients load no greenlets.
        from perdure_actors.definitions.turn import wait_for

        future = self._loop.submit(call())
        try:
            found = wait_for(future, EDGE_S_MAX + GRACE_S)
        except TimeoutError:
            future.cancel()
            raise CodecError(
                f"the payloads of {what} are held up: the codec or the external storage does not"
                " yield to others; let it await what it waits for, or do it on a thread of its own"
            ) from None
        made = iter(found)
        return [one if isinstance(one, list) else next(made) for one in begun]

    def close(self) -> None:
        """Let go of the loop."""
        self._loop.close()
