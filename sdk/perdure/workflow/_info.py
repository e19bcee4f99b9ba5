"""workflow.info(): ids, timeouts, memo and search attributes of the current run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from perdure._records.policies import duration_of, priority_of, retry_policy_of, time_of
from perdure._search_attribute_payloads import attribute_pairs
from perdure.api.common.v1 import Payload as UserPayload
from perdure.common import (
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
)
from perdure.converter._payload_codecs import payload_of
from perdure_actors.core.markers import upserted
from perdure_actors.core.state import SCHEDULER_TYPE, Facts
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.failures import exception_of
from perdure_actors.replay.runtime import current
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import Payload, RunRef

T = TypeVar("T")
AnyDefault = TypeVar("AnyDefault")
TASK_TIMEOUT_DEFAULT = timedelta(seconds=10)
HISTORY_LENGTH_SUGGESTED_MAX = 4096
HISTORY_BYTES_SUGGESTED_MAX = 4 * 1024 * 1024
_FACTS = "facts"
_INFO = "info"
_MEMO = "memo"


@dataclass(frozen=True)
class ParentInfo:
    """The run that started this one as its child."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The first of the parents."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class Info:
    """What a run knows of itself."""

    attempt: int
    continued_run_id: str | None
    cron_schedule: str | None
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, UserPayload]
    namespace: str
    original_execution_run_id: str
    parent: ParentInfo | None
    root: RootInfo | None
    priority: Priority
    raw_memo: Mapping[str, Payload]
    retry_policy: RetryPolicy | None
    run_id: str
    run_timeout: timedelta | None
    search_attributes: Mapping[str, Any]
    start_time: datetime
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: TypedSearchAttributes
    workflow_id: str
    workflow_start_time: datetime
    workflow_type: str

    def get_current_history_length(self) -> int:
        """How many events the history has, up to the one that is being taken."""
        return current().seq

    def get_current_history_size(self) -> int:
        """The size of the history in bytes, up to the transition that is being taken."""
        return current().history_bytes

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the history has become so long that continuing as a new run is wise."""
        run = current()
        too_long = run.seq >= HISTORY_LENGTH_SUGGESTED_MAX
        return too_long or run.history_bytes >= HISTORY_BYTES_SUGGESTED_MAX


def facts_of(run: Run) -> Facts:
    """The run's memo and search attributes as its code has changed them."""
    found = run.kept.get(_FACTS)
    if found is None:
        started = run.started
        assert started is not None, "user code runs only after WorkflowStarted"
        found = run.kept[_FACTS] = Facts(started.memo, started.search_attributes)
    facts: Facts = found
    return facts


def change_facts(
    run: Run,
    *,
    memo: Mapping[str, Payload] | None = None,
    search_attributes: Mapping[str, Payload] | None = None,
) -> None:
    """Remember what the code changed, so that it sees it at once."""
    facts = facts_of(run)
    run.kept[_FACTS] = Facts(
        upserted(facts.memo, dict(memo or {})),
        upserted(facts.search_attributes, dict(search_attributes or {})),
    )
    for made in (_INFO, _MEMO):
        run.kept.pop(made, None)


def info() -> Info:
    """What the current run knows of itself."""
    run = current()
    # Its chain may be asked without being named here, for it names what is here.
    chain = run.kept.get("chain")
    if chain is not None:
        told: Info = chain.outbound.info()
        return told
    return info_of(run)


def info_of(run: Run) -> Info:
    """What a run knows of itself, before interceptors."""
    found = run.kept.get(_INFO)
    if found is None:
        found = run.kept[_INFO] = _made_info(run)
    result: Info = found
    return result


def _made_info(run: Run) -> Info:
    started, facts = run.started, run.facts
    assert started is not None, "user code runs only after WorkflowStarted"
    known = facts_of(run)
    pairs = attribute_pairs(known.search_attributes, run.converter)
    return Info(
        attempt=started.attempt,
        continued_run_id=started.continued_run_id or None,
        cron_schedule=started.cron_schedule or None,
        execution_timeout=duration_of(started.execution_timeout_ms),
        first_execution_run_id=started.first_run_id or facts.run_id,
        headers={key: payload_of(one) for key, one in started.header.items()},
        namespace=facts.namespace,
        original_execution_run_id=started.original_run_id or facts.run_id,
        parent=_parent(started.parent, facts.namespace),
        root=None
        if started.root is None or started.root.workflow_type == SCHEDULER_TYPE
        else RootInfo(run_id=started.root.run_id, workflow_id=started.root.workflow_id),
        priority=priority_of(started.priority),
        raw_memo=known.memo,
        retry_policy=retry_policy_of(started.retry_policy),
        run_id=facts.run_id,
        run_timeout=duration_of(started.run_timeout_ms),
        search_attributes={
            key.name: value if isinstance(value, list) else [value] for key, value in pairs
        },
        start_time=time_of(run.started_ms),
        task_queue=started.task_queue or facts.task_queue,
        task_timeout=duration_of(started.task_timeout_ms) or TASK_TIMEOUT_DEFAULT,
        typed_search_attributes=TypedSearchAttributes(pairs),
        workflow_id=facts.workflow_id,
        workflow_start_time=time_of(run.started_ms),
        workflow_type=started.workflow_type,
    )


def _parent(parent: RunRef | None, namespace: str) -> ParentInfo | None:
    if parent is None or parent.workflow_type == SCHEDULER_TYPE:
        # The actor of a schedule starts workflows that have no parent as people see it.
        return None
    return ParentInfo(namespace=namespace, run_id=parent.run_id, workflow_id=parent.workflow_id)


def memo() -> Mapping[str, Any]:
    """The run's memo, as its values."""
    run = current()
    found = run.kept.get(_MEMO)
    if found is None:
        raw = facts_of(run).memo
        names = [f"the memo {key!r}" for key in raw]
        values = run.converter.from_payloads(list(raw.values()), names=names) if raw else []
        found = run.kept[_MEMO] = dict(zip(raw, values, strict=True))
    return dict(found)


@overload
def memo_value(key: str, default: Any = ...) -> Any: ...


@overload
def memo_value(key: str, *, type_hint: type[T]) -> T: ...


@overload
def memo_value(key: str, default: AnyDefault, *, type_hint: type[T]) -> T | AnyDefault: ...


def memo_value(key: str, default: Any = ..., *, type_hint: Any = None) -> Any:
    """One value of the memo, as its type hint.

    Raises KeyError when there is none and no default.
    """
    run = current()
    payload = facts_of(run).memo.get(key)
    if payload is not None:
        return run.converter.from_payload(payload, type_hint, what=f"the memo {key!r}")
    if default is ...:
        raise KeyError(f"the memo has no {key!r}")
    return default


def has_last_completion_result() -> bool:
    """Whether an earlier run of the cron schedule, or of the schedule, left a result."""
    return _started().last_result is not None


def get_last_completion_result(type_hint: type | None = None) -> Any | None:
    """What the last run that completed returned, as its type hint; None when none has."""
    payload = _started().last_result
    if payload is None:
        return None
    return current().converter.from_payload(payload, type_hint, what="the last result")


def get_last_failure() -> BaseException | None:
    """How the run before this one failed; None when it did not."""
    failure = _started().last_failure
    return None if failure is None else exception_of(failure, current().converter)


def _started() -> WorkflowStarted:
    started = current().started
    assert started is not None, "user code runs only after WorkflowStarted"
    return started
