"""The replayer: histories replayed on current code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final, Unpack, cast

from perdure._batches.batch_workflow import Batch
from perdure._schedules.scheduler import Scheduler
from perdure.client._history import HistoryEvent, WorkflowHistory
from perdure.converter import DataConverter, records_converter
from perdure.converter._codec_boundary import codecs_of
from perdure.worker._configs import Plugin, ReplayerConfig, configured, given, replaying
from perdure.worker._ignored_options import OptionsWithoutEffect
from perdure.worker._interceptor import Interceptor, for_workflows
from perdure.workflow._interceptor_chain import chains_of
from perdure.workflow._replay_errors import NondeterminismError, ReplayError
from perdure_actors.definitions.payload_codecs import CodecError
from perdure_actors.definitions.watchdog import LIMIT_S
from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas.avro import encode
from perdure_schemas.events import WorkflowStarted

NAMESPACE: Final = "ReplayNamespace"
NO_LIMIT_S: Final = 1e9


@dataclass(frozen=True)
class WorkflowReplayResult:
    """What became of one history."""

    history: WorkflowHistory
    replay_failure: Exception | None


@dataclass(frozen=True)
class WorkflowReplayResults:
    """What became of many."""

    replay_failures: Mapping[str, Exception]
    """By run id."""


class Replayer:
    """Replays histories on workflow classes; nothing is asked of any log.

    Histories come from `WorkflowHandle.fetch_history`, from `map_histories`, from the JSON of
    either, or from a topic by `perdure replay`.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[type],
        namespace: str = NAMESPACE,
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        plugins: Sequence[Plugin] = (),
        build_id: str | None = None,
        identity: str | None = None,
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        debug_mode: bool = False,
        **without_effect: Unpack[OptionsWithoutEffect],
    ) -> None:
        """Make one for these classes, and for what plugins add to all of this.

        Raises ValueError when there is none, or two of one name.
        """
        self._given = cast("ReplayerConfig", given(locals()))
        self._plugins = tuple(plugins)
        self._config = config = configured(self._given, plugins, "configure_replayer")
        if not config["workflows"]:
            raise ValueError("the replayer has nothing to replay: give it workflows")
        self._namespace = config["namespace"]
        self._interceptors = for_workflows(config["interceptors"])

    def _make_code(self) -> WorkflowCode:
        config, (classes, externs) = self._config, self._interceptors
        return WorkflowCode(
            [*config["workflows"], Scheduler, Batch],
            converter=records_converter(config["data_converter"]),
            failure_exception_types=config["workflow_failure_exception_types"],
            build_id=config["build_id"] or "",
            deadlock_timeout_s=NO_LIMIT_S if config["debug_mode"] else LIMIT_S,
            codecs=codecs_of(config["data_converter"], headers=False),
            chains=chains_of(classes, externs=externs),
        )

    def config(self, *, active_config: bool = False) -> ReplayerConfig:
        """What this replayer was made with; `Replayer(**config)` makes another of its kind.

        That is before its plugins changed it; with active_config it is what they made of it.
        """
        config = (self._config if active_config else self._given).copy()
        config["workflows"] = list(config["workflows"])
        return config

    async def replay_workflow(
        self, history: WorkflowHistory, *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResult:
        """Replay a history.

        Raises NondeterminismError or ReplayError when it does not fit, unless told not to.
        """

        async def histories() -> AsyncIterator[WorkflowHistory]:
            yield history

        async with self.workflow_replay_iterator(histories()) as results:
            async for result in results:
                if result.replay_failure is not None and raise_on_replay_failure:
                    raise result.replay_failure
                return result
        raise RuntimeError("a plugin's run_replayer gave no result for a history")

    async def replay_workflows(
        self,
        histories: AsyncIterator[WorkflowHistory],
        *,
        raise_on_replay_failure: bool = True,
    ) -> WorkflowReplayResults:
        """Replay histories; the failures by run id."""
        failures: dict[str, Exception] = {}
        async with self.workflow_replay_iterator(histories) as results:
            async for result in results:
                if result.replay_failure is not None:
                    if raise_on_replay_failure:
                        raise result.replay_failure
                    failures[result.history.run_id] = result.replay_failure
        return WorkflowReplayResults(failures)

    def workflow_replay_iterator(
        self, histories: AsyncIterator[WorkflowHistory]
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """What becomes of each history, one after the other."""
        return replaying(Replayer._results, self._plugins)(self, histories)

    @asynccontextmanager
    async def _results(
        self, histories: AsyncIterator[WorkflowHistory]
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        """The same, inside of all plugins."""

        async def results() -> AsyncIterator[WorkflowReplayResult]:
            async for history in histories:
                failure = await asyncio.to_thread(self._replay, history)
                yield WorkflowReplayResult(history, failure)

        yield results()

    def _replay(self, history: WorkflowHistory) -> Exception | None:
        """Why a history does not fit; None when it does. On any thread."""
        code = self._make_code()
        coroutine: Coroutine | None = None
        try:
            coroutine = _begin(code, history, self._namespace)
            size = 0
            for seq, time_ms, batch in _transitions(history.events):
                events = code.boundary.incoming(
                    [item.event for item in batch],
                    what=f"the events from {seq} on of workflow {history.workflow_id!r}",
                    contexts=coroutine.converters.contexts,
                )
                with code.watching(history.workflow_id):
                    coroutine.recall(events, seq=seq, time_ms=time_ms, history_bytes=size)
                size += sum(len(encode(item.event)) for item in batch)
        except BlockedError as error:
            kind = NondeterminismError if error.cause == "nondeterminism" else ReplayError
            return kind(
                error.message, kind=error.cause, recorded=error.recorded, produced=error.produced
            )
        except DeadlockError as error:
            return ReplayError(str(error), kind="deadlock")
        except CodecError as error:
            return ReplayError(str(error), kind="codec")
        finally:
            if coroutine is not None:
                coroutine.close()
            code.close()
        return None


def _begin(code: WorkflowCode, history: WorkflowHistory, namespace: str) -> Coroutine:
    first = history.events[0].event if history.events else None
    if not isinstance(first, WorkflowStarted):
        raise BlockedError(
            "error",
            f"the history of workflow {history.workflow_id!r} does not begin with its start",
        )
    for before, after in pairwise(history.events):
        if after.event_id != before.event_id + 1:
            raise BlockedError(
                "error",
                f"the history of workflow {history.workflow_id!r} is not whole: event"
                f" {after.event_id} follows event {before.event_id}",
            )
    facts = RunFacts(namespace, first.task_queue, history.workflow_id, history.run_id)
    return code.make(first, facts)


def _transitions(
    events: Sequence[HistoryEvent],
) -> Iterator[tuple[int, int, list[HistoryEvent]]]:
    """The events by the transitions they were recorded in: seq of the first, time, and all."""
    for (_, time), group in groupby(events, key=lambda item: (item.offset, item.event_time)):
        batch = list(group)
        yield batch[0].event_id, round(time.timestamp() * 1000), batch
