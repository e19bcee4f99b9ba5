"""Runs as lists and descriptions show them, and the merging of partitions into one list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final, TypeVar

from perdure._search_attribute_payloads import attribute_pairs, typed_attributes
from perdure._search_attributes import TypedSearchAttributes
from perdure.client._history import WorkflowHistory, moment
from perdure.client._pages import Pages
from perdure.converter import DataConverter, codecs_of, records_converter
from perdure_actors.definitions.payload_codecs import decode_payloads
from perdure_actors.replay.contexts import for_workflow
from perdure_schemas.answers.run_pages import MergedRuns, Place
from perdure_schemas.contexts import WorkflowSerializationContext
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import (
    Block,
    Notice,
    PendingActivity,
    PendingTimer,
    RunDescription,
    RunPage,
    RunSummary,
)

T = TypeVar("T")


class WorkflowExecutionStatus(IntEnum):
    """How a run stands. BLOCKED is ours: its code cannot go on until a person acts."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7
    BLOCKED = 100


def status_of(name: str) -> WorkflowExecutionStatus | None:
    """The status of a recorded name; None for one of a newer release."""
    return WorkflowExecutionStatus.__members__.get(name.upper())


@dataclass
class WorkflowExecution:
    """A run as a list shows it."""

    close_time: datetime | None
    execution_time: datetime | None
    history_length: int
    id: str
    namespace: str
    parent_id: str | None
    parent_run_id: str | None
    root_id: str | None
    root_run_id: str | None
    raw_info: RunSummary = field(repr=False)
    run_id: str
    search_attributes: Mapping[str, Any]
    start_time: datetime
    status: WorkflowExecutionStatus | None
    task_queue: str
    typed_search_attributes: TypedSearchAttributes
    workflow_type: str
    _data_converter: DataConverter = field(repr=False)

    @property
    def data_converter(self) -> DataConverter:
        """What reads the values of this run."""
        context = WorkflowSerializationContext(self.namespace, self.id)
        return self._data_converter.with_context(context)

    @property
    def block(self) -> Block | None:
        """Why the run is blocked, if it is."""
        return self.raw_info.block

    async def memo(self) -> Mapping[str, Any]:
        """The values that were kept with the run at its start."""
        memo = self.raw_info.memo
        values = await self._values(list(memo.values()), "the memo")
        return dict(zip(memo, values, strict=True))

    async def _values(
        self, payloads: Sequence[Payload], what: str, hints: Sequence[Any] | None = None
    ) -> list[Any]:
        """Values of this run. Raises CodecError when they cannot be decoded."""
        converter = self.data_converter
        what = f"{what} of workflow {self.id!r}"
        plain = await decode_payloads(payloads, codecs_of(converter), what=what)
        return records_converter(converter).from_payloads(plain, hints)

    async def memo_value(
        self, key: str, default: Any = ..., *, type_hint: type[T] | None = None
    ) -> Any:
        """One of these values. Raises KeyError when there is none and no default."""
        payload = self.raw_info.memo.get(key)
        if payload is None:
            if default is ...:
                raise KeyError(f"the memo of workflow {self.id!r} has no {key!r}")
            return default
        hints = [type_hint] if type_hint is not None else None
        return (await self._values([payload], f"the memo {key!r}", hints))[0]


@dataclass
class WorkflowExecutionDescription(WorkflowExecution):
    """A run as describe shows it."""

    raw_description: RunDescription = field(repr=False, kw_only=True)

    async def static_summary(self) -> str | None:
        """The line its starter gave it."""
        return await self._text(self.raw_description.static_summary)

    async def static_details(self) -> str | None:
        """The text its starter gave it."""
        return await self._text(self.raw_description.static_details)

    async def _text(self, payload: Payload | None) -> str | None:
        if payload is None:
            return None
        text: str = (await self._values([payload], "the summary", [str]))[0]
        return text

    @property
    def pending_activities(self) -> Sequence[PendingActivity]:
        """The activities without an outcome, with attempts and last failures."""
        return self.raw_description.pending_activities

    @property
    def pending_timers(self) -> Sequence[PendingTimer]:
        """The timers that have not fired."""
        return self.raw_description.pending_timers

    @property
    def notices(self) -> Sequence[Notice]:
        """What a person should know, such as that no worker listens."""
        return self.raw_description.notices

    @property
    def execution_timeout(self) -> timedelta | None:
        """How long all runs of the workflow may take together."""
        return _duration(self.raw_description.execution_timeout_ms)

    @property
    def run_timeout(self) -> timedelta | None:
        """How long one run may take."""
        return _duration(self.raw_description.run_timeout_ms)


def _duration(milliseconds: int) -> timedelta | None:
    return timedelta(milliseconds=milliseconds) if milliseconds else None


def execution_of(
    summary: RunSummary, *, namespace: str, converter: DataConverter
) -> WorkflowExecution:
    """A run as users see it, from its record."""
    return WorkflowExecution(
        **_fields(summary, namespace=namespace, converter=converter),
    )


def description_of(
    description: RunDescription, *, namespace: str, converter: DataConverter
) -> WorkflowExecutionDescription:
    """A description as users see it, from its record."""
    fields = _fields(description.summary, namespace=namespace, converter=converter)
    root = description.root
    fields["execution_time"] = (
        moment(description.execution_ms) if description.execution_ms else fields["start_time"]
    )
    fields["root_id"] = root.workflow_id if root else fields["root_id"]
    fields["root_run_id"] = root.run_id if root else fields["root_run_id"]
    return WorkflowExecutionDescription(**fields, raw_description=description)


def _fields(summary: RunSummary, *, namespace: str, converter: DataConverter) -> dict[str, Any]:
    parent, start = summary.parent, moment(summary.start_ms)
    values = for_workflow(records_converter(converter), namespace, summary.workflow_id)
    pairs = attribute_pairs(summary.search_attributes, values)
    return {
        "close_time": moment(summary.close_ms) if summary.close_ms else None,
        "execution_time": start,
        "history_length": summary.history_length,
        "id": summary.workflow_id,
        "namespace": namespace,
        "parent_id": parent.workflow_id if parent else None,
        "parent_run_id": parent.run_id if parent else None,
        "root_id": None if parent else summary.workflow_id,
        "root_run_id": None if parent else summary.run_id,
        "raw_info": summary,
        "run_id": summary.run_id,
        "search_attributes": {key.name: value for key, value in pairs},
        "start_time": start,
        "status": status_of(summary.status),
        "task_queue": summary.task_queue,
        "typed_search_attributes": typed_attributes(pairs),
        "workflow_type": summary.workflow_type,
        "_data_converter": converter,
    }


@dataclass
class WorkflowExecutionCountAggregationGroup:
    """How many runs share some values."""

    count: int
    group_values: Sequence[Any]


@dataclass
class WorkflowExecutionCount:
    """How many runs there are."""

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]
    silent_task_queues: Sequence[str] = ()
    """The task queues that did not answer: their runs are not counted."""


PAGE_SIZE: Final = 1000
"""How many runs a page has where nobody says, or says 0, as Temporal's server does."""
FetchRuns = Callable[[Mapping[Place, bytes], int], Awaitable[Mapping[Place, RunPage]]]
"""Gives the next page of each of some partitions: their page tokens, page size."""


class WorkflowExecutionAsyncIterator(Pages[WorkflowExecution]):
    """Runs of all partitions, the blocked ones, then the newest; `async for` takes each."""

    def __init__(
        self,
        places: Callable[[], Awaitable[Sequence[Place]]],
        fetch: FetchRuns,
        to_execution: Callable[[RunSummary], WorkflowExecution],
        history: Callable[[WorkflowExecution], Awaitable[WorkflowHistory]],
        *,
        page_size: int,
        limit: int | None,
        token: bytes,
        silent: list[str] | None = None,
    ) -> None:
        self._places = places
        self._fetch = fetch
        self._to_execution = to_execution
        self._history = history
        self._page_size = max(page_size or 0, 0) or PAGE_SIZE
        self._left = None if limit is None else max(limit, 0)
        self._token = token
        self._silent = [] if silent is None else silent
        self._merge: MergedRuns | None = None

    @property
    def silent_task_queues(self) -> Sequence[str]:
        """The task queues that did not answer so far: their runs are not in the list."""
        return tuple(self._silent)

    @property
    def next_page_token(self) -> bytes | None:
        """Where another list goes on after that page; None after the last one."""
        return (self._merge.token if self._merge else self._token) or None

    @property
    def _is_done(self) -> bool:
        return self._left == 0 or (self._merge is not None and self._merge.is_done)

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page from all partitions."""
        size = max(page_size or 0, 0) or self._page_size
        if self._left is not None:
            size = min(size, self._left)
        if self._merge is None:
            self._merge = MergedRuns.of(await self._places(), self._token)
        page: list[RunSummary] = []
        while len(page) < size:
            run = self._merge.pop()
            if run is not None:
                page.append(run)
            elif not await self._refill(self._merge, size):
                break
        if self._left is not None:
            self._left -= len(page)
        self._turn_to([self._to_execution(summary) for summary in page])

    async def _refill(self, merge: MergedRuns, size: int) -> bool:
        """Fetch where a partition has nothing left to compare with; whether there was one."""
        dry, share = merge.dry, merge.share(size)
        if dry:
            pages = await self._fetch({source.place: source.token for source in dry}, share)
            for source in dry:
                source.take(pages[source.place])
        return bool(dry)

    async def map_histories(self) -> AsyncIterator[WorkflowHistory]:
        """The history of each run, as a replayer wants them."""
        async for execution in self:
            yield await self._history(execution)
