"""The client: starts workflows, finds them, and makes handles to what it reaches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Self, Unpack, overload

from perdure._connect_config import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)
from perdure._records.workflow_names import workflow_facts
from perdure._schedules.schedule import Schedule, ScheduleBackfill
from perdure.client._activity_handles import (
    AsyncActivityHandle,
    PendingActivities,
    activity_reference,
)
from perdure.client._client_plugin import Plugin, connecting
from perdure.client._configured_client import ConfiguredClient
from perdure.client._connection import describe_task_queue, seconds, skip_input
from perdure.client._executions import WorkflowExecutionAsyncIterator, WorkflowExecutionCount
from perdure.client._inputs import (
    NO_METADATA,
    UNSET,
    CountWorkflowsInput,
    CreateScheduleInput,
    ListSchedulesInput,
    ListWorkflowsInput,
    StartOptions,
    UpdateOptions,
    WorkflowUpdateStage,
    call_arguments,
    start_input,
)
from perdure.client._interceptors import Interceptor
from perdure.client._schedule_descriptions import ScheduleAsyncIterator
from perdure.client._schedule_handle import ScheduleHandle
from perdure.client._service_client import KafkaConfig, ServiceClient
from perdure.client._update_handle import WorkflowUpdateHandle
from perdure.client._with_start import WithStartWorkflowOperation, update_with_start_input
from perdure.client._workflow_handle import WorkflowHandle
from perdure.common import (
    HeaderCodecBehavior,
    QueryRejectCondition,
    SearchAttributes,
    TypedSearchAttributes,
)
from perdure.converter import DataConverter
from perdure.types import (
    LocalReturnType,
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    ReturnType,
    SelfType,
)
from perdure_schemas.replies import TaskQueueInfo

if TYPE_CHECKING:
    from perdure.runtime import Runtime
    from perdure.workflow._message_decorators import UpdateMethodMultiParam


class Client(ConfiguredClient):
    """Speaks to the workflows of a namespace. Make one with `await Client.connect(...)`."""

    @classmethod
    async def connect(
        cls,
        target_host: str,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        tls: bool | TLSConfig | None = None,
        kafka_config: KafkaConfig | None = None,
        api_key: str | None = None,
        retry_config: RetryConfig | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default,
        rpc_metadata: Mapping[str, str | bytes] | None = None,
        identity: str | None = None,
        lazy: bool = False,
        runtime: Runtime | None = None,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        dns_load_balancing_config: DnsLoadBalancingConfig | None = None,
        grpc_compression: GrpcCompression = GrpcCompression.GZIP,
        payload_limits: PayloadLimitsConfig = PayloadLimitsConfig(),  # noqa: B008 - frozen
        connect_timeout: timedelta | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
    ) -> Self:
        """Connect to a log: "localhost:9092", "http://127.0.0.1:8080" or "file:./data".

        With lazy, the log is not looked for before the first call. How a Kafka broker is reached
        says kafka_config: a file, or librdkafka's settings of TLS and SASL; without it the file
        that PERDURE_KAFKA_CONFIG names and the variables PERDURE_KAFKA_... hold. tls adds to that.
        Above the sizes of payload_limits it warns in the log. Queries are refused in the states of
        default_workflow_query_reject_condition. Without effect are what is about gRPC
        (retry_config, keep_alive_config, rpc_metadata, dns_load_balancing_config,
        grpc_compression), and a runtime: it set the process up when it was made.
        The key is the token of a gateway that asks who one is; without one, PERDURE_API_KEY.
        Plugins may change all of this; those of workers too are passed on to the client's.

        Raises RPCError when it cannot be reached, ValueError when the target is none of these or
        a setting cannot be used.

        Example:
            client = await Client.connect("kafka:9093", kafka_config="/etc/perdure/kafka.toml")
        """
        # fmt: off
        config = ConnectConfig(
            target_host, api_key, tls, retry_config, keep_alive_config, rpc_metadata or {},
            identity or "", lazy, runtime, http_connect_proxy_config, dns_load_balancing_config,
            grpc_compression, payload_limits, connect_timeout,
        )
        # fmt: on
        connect = partial(ServiceClient.connect, namespace=namespace, kafka_config=kafka_config)
        return cls(
            await connecting(connect, plugins)(config),
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
        )

    # Workflows.

    @overload
    async def start_workflow(
        self,
        workflow: MethodAsyncNoParam[SelfType, ReturnType],
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...

    @overload
    async def start_workflow(
        self,
        workflow: MethodAsyncSingleParam[SelfType, ParamType, ReturnType],
        arg: ParamType,
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...

    @overload
    async def start_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...

    @overload
    async def start_workflow(
        self,
        workflow: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: type | None = ...,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]: ...

    async def start_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow, and return its handle once a host has taken it.

        Raises WorkflowAlreadyStartedError when the id policies refuse it.
        """
        input = start_input(workflow, arg, args, id, task_queue, result_type, options)
        return await self._outbound.start_workflow(input)

    @overload
    async def execute_workflow(
        self,
        workflow: MethodAsyncNoParam[SelfType, ReturnType],
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...

    @overload
    async def execute_workflow(
        self,
        workflow: MethodAsyncSingleParam[SelfType, ParamType, ReturnType],
        arg: ParamType,
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...

    @overload
    async def execute_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...

    @overload
    async def execute_workflow(
        self,
        workflow: str,
        arg: Any = ...,
        *,
        args: Sequence[Any] = ...,
        id: str,
        task_queue: str,
        result_type: type | None = ...,
        **options: Unpack[StartOptions],
    ) -> Any: ...

    async def execute_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> Any:
        """Start a workflow and wait for its result, in one request.

        Raises what start_workflow and WorkflowHandle.result raise.
        """
        input = start_input(workflow, arg, args, id, task_queue, result_type, options)
        input.waits = True
        handle = await self._outbound.start_workflow(input)
        return await handle.result()

    @overload
    async def start_update_with_start_workflow(
        self,
        update: UpdateMethodMultiParam[[SelfType], LocalReturnType],
        *,
        start_workflow_operation: WithStartWorkflowOperation[SelfType, Any],
        wait_for_stage: WorkflowUpdateStage,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[LocalReturnType]: ...

    @overload
    async def start_update_with_start_workflow(
        self,
        update: UpdateMethodMultiParam[[SelfType, ParamType], LocalReturnType],
        arg: ParamType,
        *,
        start_workflow_operation: WithStartWorkflowOperation[SelfType, Any],
        wait_for_stage: WorkflowUpdateStage,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[LocalReturnType]: ...

    @overload
    async def start_update_with_start_workflow(
        self,
        update: str | UpdateMethodMultiParam[Any, Any],
        arg: Any = ...,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = ...,
        result_type: type | None = ...,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[Any]: ...

    async def start_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        result_type: type | None = None,
        **options: Unpack[UpdateOptions],
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, starting its workflow first where that does not run yet.

        A refused update leaves the workflow running. Raises WorkflowUpdateFailedError for it, and
        the start's own errors.
        """
        operation, values = start_workflow_operation, call_arguments(arg, args)
        input = update_with_start_input(
            self, operation, update, values, wait_for_stage, result_type, options
        )
        try:
            return await self._outbound.start_update_with_start_workflow(input)
        except BaseException as error:
            operation.failed(error)
            raise

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: UpdateMethodMultiParam[[SelfType], LocalReturnType],
        *,
        start_workflow_operation: WithStartWorkflowOperation[SelfType, Any],
        **options: Unpack[UpdateOptions],
    ) -> LocalReturnType: ...

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: UpdateMethodMultiParam[[SelfType, ParamType], LocalReturnType],
        arg: ParamType,
        *,
        start_workflow_operation: WithStartWorkflowOperation[SelfType, Any],
        **options: Unpack[UpdateOptions],
    ) -> LocalReturnType: ...

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: str | UpdateMethodMultiParam[Any, Any],
        arg: Any = ...,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = ...,
        result_type: type | None = ...,
        **options: Unpack[UpdateOptions],
    ) -> Any: ...

    async def execute_update_with_start_workflow(
        self,
        update: Any,
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = (),
        result_type: type | None = None,
        **options: Unpack[UpdateOptions],
    ) -> Any:
        """The same, waiting for what the update returns."""
        handle = await self.start_update_with_start_workflow(
            update,
            start_workflow_operation=start_workflow_operation,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=call_arguments(arg, args),
            result_type=result_type,
            **options,
        )
        return await handle.result(
            rpc_metadata=options.get("rpc_metadata", NO_METADATA),
            rpc_timeout=options.get("rpc_timeout"),
        )

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[Any, Any]:
        """The handle of a workflow. Without a task queue, every queue is asked for it once."""
        return WorkflowHandle(
            self,
            workflow_id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
            task_queue=task_queue,
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[Concatenate[SelfType, ...], Awaitable[ReturnType]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[SelfType, ReturnType]:
        """The typed handle of a workflow, by its run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=workflow_facts(workflow).result_type,
            task_queue=task_queue,
        )

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """List runs, newest first, of one task queue or of all."""
        return self._outbound.list_workflows(
            ListWorkflowsInput(
                query, page_size, next_page_token, rpc_metadata, rpc_timeout, limit, task_queue
            )
        )

    async def count_workflows(
        self,
        query: str | None = None,
        *,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> WorkflowExecutionCount:
        """Count runs, of one task queue or of all."""
        input = CountWorkflowsInput(query, rpc_metadata, rpc_timeout, task_queue)
        return await self._outbound.count_workflows(input)

    # Schedules.

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = (),
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleHandle:
        """Make a schedule; it lives on the task queue of its action.

        Raises ScheduleAlreadyRunningError when there is one of this id, ValueError for one that
        cannot be followed.

        Example:
            action = ScheduleActionStartWorkflow(Report.run, id="report", task_queue="reports")
            spec = ScheduleSpec(cron_expressions=["0 2 * * *"], time_zone_name="Europe/Rome")
            await client.create_schedule("nightly", Schedule(action, spec))
        """
        return await self._outbound.create_schedule(
            CreateScheduleInput(
                id=id,
                schedule=schedule,
                trigger_immediately=trigger_immediately,
                backfill=backfill,
                memo=memo,
                search_attributes=search_attributes,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    def get_schedule_handle(self, id: str) -> ScheduleHandle:
        """A handle of a schedule; whether there is one is not looked at."""
        return ScheduleHandle(self, id)

    async def list_schedules(
        self,
        query: str | None = None,
        *,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleAsyncIterator:
        """The schedules there are. It is awaited, and then gone through with `async for`.

        query is a filter as that of lists of workflows; `ScheduleId`, `TemporalSchedulePaused` and
        the search attributes given to schedules find them. A page of so many is one question to
        each partition.

        Raises RPCError for a filter that cannot be understood.

        Example:
            async for one in await client.list_schedules("TemporalSchedulePaused = true"):
                print(one.id, one.info and one.info.next_action_times)
        """
        input = ListSchedulesInput(page_size, next_page_token, rpc_metadata, rpc_timeout, query)
        return self._outbound.list_schedules(input)

    # Activities and task queues.

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
        task_queue: str | None = None,
    ) -> AsyncActivityHandle:
        """The handle of an activity that is completed from elsewhere.

        By `activity.info().task_token`, or by workflow_id and activity_id. Without a task queue,
        every queue is asked for the workflow.

        Raises ValueError when it is neither, or both.
        """
        which = activity_reference(workflow_id, run_id, activity_id, task_token, task_queue)
        return AsyncActivityHandle(self, which)

    def pending_activities(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        task_queue: str | None = None,
        rpc_timeout: timedelta | None = None,
    ) -> PendingActivities:
        """The activities of a workflow without an outcome: to pause, reset, retry or fail them."""
        return PendingActivities(
            self._connection,
            self._values,
            workflow_id,
            run_id=run_id,
            task_queue=task_queue,
            rpc_timeout=rpc_timeout,
        )

    async def describe_task_queue(
        self, task_queue: str, *, rpc_timeout: timedelta | None = None
    ) -> list[TaskQueueInfo]:
        """Ask every partition of a task queue how it stands: owner, workers, open runs."""
        return await describe_task_queue(self._connection, task_queue, seconds(rpc_timeout))

    async def skip_input(
        self,
        task_queue: str,
        *,
        partition: int,
        offset: int,
        reason: str = "",
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Put one input that holds its partition up with the dead letters, undecided.

        Raises RPCError when the partition does not stand at it.
        """
        timeout_s = seconds(rpc_timeout)
        await skip_input(self._connection, task_queue, partition, offset, reason, timeout_s)
