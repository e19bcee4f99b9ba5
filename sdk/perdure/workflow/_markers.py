"""Patches, side effects, memo, search attributes and emitted records."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar, overload

from perdure._search_attribute_payloads import attribute_payloads, check_types
from perdure.common import SearchAttributes, SearchAttributeUpdate
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._info import change_facts, facts_of
from perdure.workflow._workflow_interceptor import PATCHES
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current
from perdure_schemas.fact_events import MemoUpserted, RecordEmitted, SearchAttributesUpserted
from perdure_topics.names import TOPICS, topic_name

T = TypeVar("T")
TOPIC_CHARS_MAX = 249
HEADERS_MAX = 100
_TOPIC = re.compile(r"[A-Za-z0-9._-]+")
_DETAILS = "current_details"
_KAFKAS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})


@lru_cache(maxsize=64)
def _own_topics(namespace: str, task_queue: str) -> frozenset[str]:
    """The topics of a run's own queue and namespace. Nobody else's: it must not ask the log."""
    return frozenset(topic_name(row.role, namespace, task_queue) for row in TOPICS)


def patched(
    id: str,
    *,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> bool:
    """Whether this run takes the changed code.

    True for runs that come here for the first time, and for those that were here with the
    change; False in replay of a run that was here before the change. The answer stays the same
    for the whole run. A worker may have a say, see patch_activation_callback of `Worker`.
    event_groups have no effect.
    """
    run = current()
    allows = run.kept.get(PATCHES)
    return run.markers.patched(id, allows=None if allows is None else partial(allows, run))


def deprecate_patch(
    id: str,
    *,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> None:
    """In the place of `patched` once no run without the change is open any more.

    Histories with the patch and without it fit. Remove it when no run with the patch is open.
    """
    current().markers.deprecate_patch(id)


@overload
def side_effect(fn: Callable[[], T]) -> T: ...


@overload
def side_effect(fn: Callable[[], Any], *, type_hint: type[T]) -> T: ...


def side_effect(fn: Callable[[], Any], *, type_hint: Any = None) -> Any:
    """The value of a function that is called once; replay gets the value that was recorded.

    The function may do what workflow code may not, such as asking the system's clock or an
    environment variable, but it holds up its host while it runs: what takes long, or may fail,
    belongs in an activity. The value is given as its type hint, or as plain JSON values.
    """
    return current().markers.side_effect(fn, type_hint=type_hint)


@overload
def mutable_side_effect(
    id: str, fn: Callable[[], T], *, is_new: Callable[[T, T], bool] = ...
) -> T: ...


@overload
def mutable_side_effect(
    id: str,
    fn: Callable[[], Any],
    *,
    type_hint: type[T],
    is_new: Callable[[T, T], bool] = ...,
) -> T: ...


def mutable_side_effect(
    id: str,
    fn: Callable[[], Any],
    *,
    type_hint: Any = None,
    is_new: Callable[[Any, Any], bool] = operator.ne,
) -> Any:
    """The value of a function that may change, such as a setting, recorded only where it does.

    `is_new` is given the recorded value and the function's, and says whether the latter counts.
    """
    return current().markers.mutable_side_effect(id, fn, type_hint=type_hint, is_new=is_new)


def upsert_memo(
    updates: Mapping[str, Any],
    *,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> None:
    """Change the run's memo: each value in place of that of its name; None removes.

    event_groups have no effect.

    Raises TypeError or ValueError for a value that cannot be written.
    """
    run = current()
    names = [f"the memo {key!r}" for key in updates]
    payloads = run.converter.to_payloads(list(updates.values()), names=names) if updates else []
    if not updates:
        return
    memo = dict(zip(updates, payloads, strict=True))
    run.ask(MemoUpserted(memo=memo, call_site=run.call_site()))
    change_facts(run, memo=memo)


def upsert_search_attributes(
    attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]],
    *,
    event_groups: Sequence[EventGroup] | None = None,  # noqa: ARG001 - without effect
) -> None:
    """Change the run's search attributes: by `key.value_set(...)` and `key.value_unset()`.

    An attribute needs no registration; its first use gives its type. Raises TypeError for a value
    of another type, and ValueError for a name given twice.
    """
    run = current()
    updates = attribute_payloads(attributes, run.converter)
    if not updates:
        return
    check_types(facts_of(run).search_attributes, updates)
    run.ask(SearchAttributesUpserted(search_attributes=updates, call_site=run.call_site()))
    change_facts(run, search_attributes=updates)


def set_current_details(description: str) -> None:
    """Say in Markdown how the run stands, for the people who look at it."""
    current().kept[_DETAILS] = description


def get_current_details() -> str:
    """What was said last of how the run stands."""
    details: str = current().kept.get(_DETAILS, "")
    return details


def emit(
    topic: str,
    key: str | bytes | None,
    value: Any,
    *,
    headers: Mapping[str, str | bytes] | None = None,
    partition: int | None = None,
) -> None:
    """Publish a record to a topic of yours, exactly once, when this step of the run is accepted.

    Bytes and text are written as they are, None as a tombstone, anything else as the payload
    converter writes it, which is JSON.

    Raises ValueError for a name that no topic can have, for a topic of Kafka's own, of this task
    queue's or of its namespace's, which only their processes write; TypeError for what cannot be
    written.
    """
    run = current()
    if not _TOPIC.fullmatch(topic) or len(topic) > TOPIC_CHARS_MAX or topic in (".", ".."):
        raise ValueError(
            f"{topic!r} is no topic's name: give letters, digits, '.', '_' and '-',"
            f" {TOPIC_CHARS_MAX} at most"
        )
    if topic in _KAFKAS or topic in _own_topics(run.facts.namespace, run.facts.task_queue):
        raise ValueError(
            f"{topic!r} is not for workflows to write to: it is Kafka's own, or this task queue's;"
            " emit to a topic of yours"
        )
    if partition is not None and partition < 0:
        raise ValueError(f"partition {partition}: give 0 or more, or none")
    if headers and len(headers) > HEADERS_MAX:
        raise ValueError(f"{len(headers)} headers; {HEADERS_MAX} is the most")
    run.ask(
        RecordEmitted(
            topic=topic,
            key=None if key is None else _bytes(key),
            value=_value(run, topic, value),
            headers={name: _bytes(header) for name, header in (headers or {}).items()},
            partition=-1 if partition is None else partition,
            call_site=run.call_site(),
        )
    )


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _value(run: Run, topic: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | bytearray | memoryview):
        return _bytes(value) if isinstance(value, str) else bytes(value)
    return run.converter.to_payload(value, what=f"the record for topic {topic!r}").data
