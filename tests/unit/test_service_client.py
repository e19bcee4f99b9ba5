"""How a client is told to connect in Temporal's words, and what of that has an effect."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from perdure import workflow
from perdure.api.common.v1 import RetryPolicy as ProtoRetryPolicy
from perdure.client import Client, WorkflowQueryRejectedError
from perdure.common import QueryRejectCondition, RetryPolicy
from perdure.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    RPCError,
    RPCStatusCode,
    ServiceClient,
)
from perdure.testing import WorkflowEnvironment
from perdure.worker import Worker
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.ports import LogError

pytestmark = pytest.mark.embedded


@workflow.defn
class Quiet:
    @workflow.run
    async def run(self, text: str) -> int:
        return len(text)

    @workflow.query
    def asked(self) -> str:
        return "yes"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(
        f"file:{tmp_path}/log",
        default_workflow_query_reject_condition=QueryRejectCondition.NOT_OPEN,
        retry_config=RetryConfig(max_retries=3),
        keep_alive_config=KeepAliveConfig.default,
        rpc_metadata={"a": "b"},
        dns_load_balancing_config=DnsLoadBalancingConfig.default,
        grpc_compression=GrpcCompression.NONE,
        payload_limits=PayloadLimitsConfig(payloads_warn_size=100, memo_warn_size=10),
        connect_timeout=timedelta(minutes=1),
    )
    yield client
    await client.close()


async def test_large_values_are_warned_of(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with Worker(client, task_queue="q", workflows=[Quiet]):
        with caplog.at_level(logging.WARNING, "perdure.client"):
            small = await client.execute_workflow(Quiet.run, "x", id="s", task_queue="q")
            assert caplog.messages == []
            large = await client.execute_workflow(
                Quiet.run, "x" * 101, id="l", task_queue="q", memo={"m": "y" * 11}
            )

    assert (small, large) == (1, 101)
    found = [message.partition(" bytes,")[0] for message in caplog.messages]
    assert found == [
        "start of workflow 'l': its input takes 103",
        "start of workflow 'l': its memo takes 13",
    ]


async def test_queries_are_refused_as_the_client_says_unless_they_say(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[Quiet]):
        await client.execute_workflow(Quiet.run, "x", id="w", task_queue="q")
        handle = client.get_workflow_handle_for(Quiet.run, "w")

        with pytest.raises(WorkflowQueryRejectedError):
            await handle.query(Quiet.asked)
        condition = QueryRejectCondition.NONE
        assert await handle.query(Quiet.asked, reject_condition=condition) == "yes"


async def test_clients_of_one_connection_share_its_log(client: Client) -> None:
    service = client.service_client
    other = Client(service, namespace="other")

    assert other.namespace == "other"
    assert other.log is client.log
    assert Client(**client.config()).connection.log is client.log
    assert Client(service, namespace="other").connection.log is client.log
    assert client.rpc_metadata == {"a": "b"}
    other.api_key = "k"
    assert client.api_key == service.config.api_key == "k"
    assert service.worker_service_client.config.target_host.startswith("file:")
    assert await service.check_health(timeout=timedelta(minutes=1))


async def test_closing_any_client_of_a_connection_lets_go_of_its_log(tmp_path: Path) -> None:
    service = await ServiceClient.connect(ConnectConfig(f"file:{tmp_path}/log"))
    client, other = Client(service), Client(service, namespace="other")
    with pytest.raises(LogError):
        EmbeddedLog.open(str(tmp_path / "log"))

    await other.close()

    EmbeddedLog.open(str(tmp_path / "log")).close()
    await client.close()


def test_an_error_says_its_status_as_a_record() -> None:
    status = RPCError("gone", RPCStatusCode.NOT_FOUND).grpc_status

    assert (status.code, status.message, status.details) == (5, "gone", [])


async def test_no_proxy_is_pretended(tmp_path: Path) -> None:
    proxy = HttpConnectProxyConfig("proxy:3128")

    with pytest.raises(ValueError, match="neither Kafka nor an engine"):
        await Client.connect(f"file:{tmp_path}/log", http_connect_proxy_config=proxy)


async def test_a_test_environment_has_a_service_client_too() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        other = Client(env.client.service_client)
        async with Worker(other, task_queue="q", workflows=[Quiet]):
            found = await other.execute_workflow(Quiet.run, "abc", id="w", task_queue="q")

    assert found == 3


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(maximum_interval=timedelta(seconds=100)),
        RetryPolicy(timedelta(microseconds=1_500_001), 3.0, timedelta(days=2), 4, ["A", "B"]),
    ],
)
def test_a_retry_policy_goes_through_its_message(policy: RetryPolicy) -> None:
    proto = ProtoRetryPolicy()

    policy.apply_to_proto(proto)

    assert RetryPolicy.from_proto(proto) == policy
