"""Converters and codecs that ask whose values they have, and refuse what is another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from perdure.api.common.v1 import Payload
from perdure.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)


@dataclass
class Trace:
    """A value that notes each conversion it goes through."""

    steps: list[tuple[str, str]] = field(default_factory=list)


def name_of(context: SerializationContext | None) -> str:
    if isinstance(context, WorkflowSerializationContext):
        return f"{context.namespace} workflow {context.workflow_id}"
    assert isinstance(context, ActivitySerializationContext), "each conversion has a context"
    kind = "local activity" if context.is_local else "activity"
    return (
        f"{context.namespace} {kind} {context.activity_id} {context.activity_type} on"
        f" {context.activity_task_queue} of {context.workflow_type} {context.workflow_id}"
    )


class Tracing(EncodingPayloadConverter, WithSerializationContext):
    def __init__(self, context: SerializationContext | None = None) -> None:
        self._context = context

    @property
    def encoding(self) -> str:
        return "test/trace"

    def with_context(self, context: SerializationContext) -> Self:
        return type(self)(context)

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Trace):
            return None
        value.steps.append(("write", name_of(self._context)))
        data = JSONPlainPayloadConverter().to_payload(value)
        assert data is not None
        return Payload(metadata={"encoding": self.encoding.encode()}, data=data.data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        value = JSONPlainPayloadConverter().from_payload(payload, Trace)
        value.steps.append(("read", name_of(self._context)))
        return value


class TracingConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Tracing(), *DefaultPayloadConverter.default_encoding_payload_converters)


def key_of(context: SerializationContext | None) -> bytes:
    """What every place that speaks of one value must know: whose it is."""
    assert context is not None, "each payload has a context"
    activity_id = getattr(context, "activity_id", "")
    workflow_id = getattr(context, "workflow_id", "")
    return f"{workflow_id}/{activity_id}".encode()


class Sealing(PayloadCodec, WithSerializationContext):
    """Refuses what was written for somebody else."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self._context = context

    def with_context(self, context: SerializationContext) -> Self:
        return type(self)(context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        key = key_of(self._context)
        return [
            Payload(metadata={**payload.metadata, "seal": key}, data=payload.data)
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        made = []
        for payload in payloads:
            metadata = dict(payload.metadata)
            seal = metadata.pop("seal")
            assert seal == key_of(self._context), f"{seal!r} opened by {key_of(self._context)!r}"
            made.append(Payload(metadata=metadata, data=payload.data))
        return made
