"""The tracing interceptor: W3C trace context in the header `_tracer-data`, and spans around calls.

The engine reports workflows and activities as spans by itself, from the log. What is here adds
spans of the client's calls and of activities' code, and carries the caller's context, baggage
included, through workflows into activities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perdure import activity, client, worker
from perdure.api.common.v1 import Payload
from perdure.converter import PayloadConverter
from perdure.exceptions import ApplicationError, ApplicationErrorCategory
from perdure.workflow import ActivityHandle

HEADER_KEY: Final = "_tracer-data"
default_text_map_propagator = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
)


class _WithHeaders(Protocol):
    headers: Mapping[str, Payload]


class TracingInterceptor(client.Interceptor, worker.Interceptor):
    """Traces a client's calls and its workers' activities. Give it to the client.

    Args:
        tracer: What makes spans; the global provider's when not given.
        always_create_workflow_spans: Without effect: workflows are spans of the engine.
    """

    payload_converter = PayloadConverter.default
    text_map_propagator: TextMapPropagator = default_text_map_propagator
    header_key = HEADER_KEY

    def __init__(
        self, tracer: trace.Tracer | None = None, *, always_create_workflow_spans: bool = False
    ) -> None:
        self.tracer = tracer or trace.get_tracer("perdure.contrib.opentelemetry")

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        """The link around a client's calls."""
        return _TracingClient(next, self)

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        """The link around an activity's code."""
        return _TracingActivity(next, self)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        """The link around workflow code."""
        return TracingWorkflowInboundInterceptor

    @contextmanager
    def span(self, name: str, *, kind: SpanKind, attributes: Mapping[str, str]) -> Iterator[None]:
        """A current span around a block, its error recorded."""
        with self.tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.record_exception(error)
                if not _is_benign(error):
                    span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
                raise

    def inject(self, input: _WithHeaders) -> None:
        """Add the current context to the headers of a call."""
        input.headers = with_context(input.headers)


class _TracingClient(client.OutboundInterceptor):
    """Spans around a client's calls to workflows."""

    def __init__(self, next: client.OutboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    @contextmanager
    def _call(self, name: str, input: Any) -> Iterator[None]:
        facts = {"perdure.workflow.id": input.id}
        with self._root.span(name, kind=SpanKind.CLIENT, attributes=facts):
            self._root.inject(input)
            yield

    async def start_workflow(
        self, input: client.StartWorkflowInput
    ) -> client.WorkflowHandle[Any, Any]:
        """Start a workflow in the caller's trace."""
        with self._call(f"StartWorkflow:{input.workflow}", input):
            return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        """Signal a workflow in the caller's trace."""
        with self._call(f"SignalWorkflow:{input.signal}", input):
            await super().signal_workflow(input)

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:
        """Query a workflow in the caller's trace."""
        with self._call(f"QueryWorkflow:{input.query}", input):
            return await super().query_workflow(input)

    async def start_workflow_update(
        self, input: client.StartWorkflowUpdateInput
    ) -> client.WorkflowUpdateHandle[Any]:
        """Update a workflow in the caller's trace."""
        with self._call(f"StartWorkflowUpdate:{input.update}", input):
            return await super().start_workflow_update(input)


class _TracingActivity(worker.ActivityInboundInterceptor):
    """A span around an activity's code, in the task's trace or the workflow's."""

    def __init__(self, next: worker.ActivityInboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        """Call the activity."""
        info = activity.info()
        carried = context_of(input.headers)
        # A task that came in a trace of the engine's is the nearer parent; baggage is the header's.
        if trace.get_current_span().get_span_context().is_valid:
            carried = trace.set_span_in_context(trace.get_current_span(), carried)
        token = otel_context.attach(carried)
        facts = {
            "perdure.workflow.id": info.workflow_id or "",
            "perdure.run.id": info.workflow_run_id or "",
            "perdure.activity.id": info.activity_id,
        }
        try:
            with self._root.span(
                f"RunActivity:{info.activity_type}", kind=SpanKind.SERVER, attributes=facts
            ):
                return await super().execute_activity(input)
        finally:
            otel_context.detach(token)


class TracingWorkflowInboundInterceptor(worker.WorkflowInboundInterceptor):
    """Makes the caller's context current in workflow code, for what it calls."""

    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        """Put our own link before the outbound chain."""
        super().init(_TracingOutbound(outbound))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        """Call the run method in the context of its starter."""
        # Each run has a context of its own, so that nothing needs to be put back.
        otel_context.attach(context_of(input.headers))
        return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:
        """Call a signal's handler in the context of its sender."""
        otel_context.attach(context_of(input.headers))
        await super().handle_signal(input)

    async def handle_update_handler(self, input: worker.HandleUpdateInput) -> Any:
        """Call an update's handler in the context of its sender."""
        otel_context.attach(context_of(input.headers))
        return await super().handle_update_handler(input)


class _TracingOutbound(worker.WorkflowOutboundInterceptor):
    """Hands the context on to all that a workflow calls."""

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:
        """Continue in the same trace."""
        input.headers = with_context(input.headers)
        super().continue_as_new(input)

    def start_activity(self, input: worker.StartActivityInput) -> ActivityHandle[Any]:
        """Start an activity in the same trace."""
        input.headers = with_context(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> ActivityHandle[Any]:
        """Start a local activity in the same trace."""
        input.headers = with_context(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: worker.StartChildWorkflowInput) -> Any:
        """Start a child in the same trace."""
        input.headers = with_context(input.headers)
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: worker.SignalChildWorkflowInput) -> None:
        """Signal a child in the same trace."""
        input.headers = with_context(input.headers)
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: worker.SignalExternalWorkflowInput) -> None:
        """Signal another workflow in the same trace."""
        input.headers = with_context(input.headers)
        await super().signal_external_workflow(input)


def with_context(headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
    """Headers with the current context, if there is one."""
    carrier: dict[str, str] = {}
    default_text_map_propagator.inject(carrier)
    if not carrier:
        return headers
    return {**headers, HEADER_KEY: PayloadConverter.default.to_payload(carrier)}


def context_of(headers: Mapping[str, Payload]) -> Context:
    """The context that headers carry; the current one where there is none that can be read."""
    payload = headers.get(HEADER_KEY)
    if payload is None:
        return otel_context.get_current()
    try:
        carrier = PayloadConverter.default.from_payload(payload, dict[str, str])
    except ValueError:
        # It is for traces only: a workflow is not to fail of it.
        return otel_context.get_current()
    return default_text_map_propagator.extract(carrier)


def _is_benign(error: Exception) -> bool:
    return isinstance(error, ApplicationError) and error.category == ApplicationErrorCategory.BENIGN
