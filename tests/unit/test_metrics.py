"""Metrics of real workers, read as Prometheus reads them, and what is made of them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from perdure_topics.names import PARTITIONS_DEFAULT
from perdure_views.metrics import HISTOGRAM, METRICS
from tests.broker.kafka_broker import free_port

pytestmark = pytest.mark.embedded
ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "perdure.json"
ALERTS = ROOT / "deploy" / "prometheus" / "perdure-alerts.yml"
APP = """
import asyncio
import http.client
import sys
from datetime import timedelta
from urllib.parse import urlsplit

from perdure import activity, workflow
from perdure._telemetry import environment as telemetry
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure._gateway.serve import serving
from perdure.worker import Worker
from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings


@activity.defn
async def charge() -> None:
    meter = activity.metric_meter().with_additional_attributes({"bank": "north"})
    meter.create_counter("charges", "how often", "1").add(2)
    if activity.info().attempt == 1:
        raise RuntimeError("asleep")


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None:
        meter = workflow.metric_meter()
        meter.create_counter("orders").add(1)
        meter.create_histogram_timedelta("size").record(timedelta(seconds=3))
        await workflow.execute_activity(
            charge,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        await asyncio.sleep(0.01)


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("a bug")


TOKEN = "operator-token-0123456789"
TOKENS = TokenList.of_text(f"operate oskar {TOKEN}", where="here")


def look(url: str) -> http.client.HTTPResponse:
    # Two requests, twelve sign-ins with a wrong token, and a live view that stays open.
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    headers = {"authorization": f"Bearer {TOKEN}"}
    for id in ("o", "nobody"):
        line.request("GET", f"/api/v1/workflow?id={id}&queue=q", headers=headers)
        line.getresponse().read()
    for _ in range(12):
        wrong = '{"token": "wrong-token-0123456789"}'
        line.request("POST", "/api/v1/session", wrong, {"content-type": "application/json"})
        line.getresponse().read()
    line.request("GET", "/api/v1/workflows/live", headers=headers)
    stream = line.getresponse()
    stream.readline()
    return stream


async def main() -> None:
    address = telemetry.serve_metrics(int(sys.argv[2]), "q")
    client = await Client.connect(f"file:{sys.argv[1]}")
    # Code is made anew at each event, so that all but the first of a run is replayed.
    worker = Worker(
        client, task_queue="q", workflows=[Order, Broken], activities=[charge]
    )
    async with worker:
        await client.execute_workflow("Order", id="o", task_queue="q")
        broken = await client.start_workflow("Broken", id="b", task_queue="q")
        while (await broken.describe()).raw_description.summary.block is None:
            await asyncio.sleep(0.05)
        async with serving(client, Settings(port=0, register=Register([TOKENS]))) as url:
            stream = await asyncio.to_thread(look, url)
            print(address, flush=True)
            await asyncio.to_thread(sys.stdin.read)
            stream.close()
    await client.close()


asyncio.run(main())
"""


class Scraped:
    """What the endpoint says, by the names of samples."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no sample {name} {labels}"
        return sum(found)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, str(folder / "app.py"), str(folder / "data"), str(free_port())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        with urllib.request.urlopen(address, timeout=10) as answer:
            return Scraped(answer.read().decode())
    finally:
        process.communicate(timeout=30)


def test_what_is_accepted_is_measured_once(scraped: Scraped) -> None:
    queue = {"namespace": "default", "task_queue": "q"}
    order = {**queue, "workflow_type": "Order"}
    charge = {**queue, "activity_type": "charge"}
    value = scraped.value
    assert value("perdure_workflow_latency_seconds_count", outcome="completed", **order) == 1
    assert value("perdure_workflow_blocked_total", workflow_type="Broken", **queue) == 1
    assert value("perdure_activity_latency_seconds_count", outcome="completed", **charge) == 1
    assert value("perdure_activity_attempt_seconds_count", outcome="failed", **charge) == 1
    assert value("perdure_activity_attempt_seconds_count", outcome="ok", **charge) == 1
    assert value("perdure_activity_schedule_to_start_seconds_count", **charge) == 2
    assert value("perdure_timer_lateness_seconds_count", **queue) == 1
    assert value("perdure_takeovers_total", **queue) == PARTITIONS_DEFAULT
    assert value("perdure_partitions", **queue) == PARTITIONS_DEFAULT
    assert value("perdure_runs", state="open", **queue) == 1
    assert value("perdure_runs", state="blocked", **queue) == 1
    assert value("perdure_runs", state="retrying", **queue) == 0
    assert value("perdure_runs", state="exhausted", **queue) == 0
    assert value("perdure_activities_pending", **queue) == 0
    assert value("perdure_worker_slots", state="free", **queue) == 100
    assert value("perdure_worker_tasks_total", event="started", **queue) == 2
    assert value("perdure_activations_total", **queue) >= 4
    assert value("perdure_workflow_cache_hits_total", **queue) >= 2
    assert value("perdure_transition_latency_seconds_count", **queue) > 5
    assert value("perdure_lag", **queue) == 0


def test_the_gateway_measures_requests_live_views_and_sign_ins(scraped: Scraped) -> None:
    space = {"namespace": "default"}
    requests = "perdure_gateway_request_seconds_count"
    described = {"endpoint": "describeWorkflow", **space}
    assert scraped.value(requests, status="200", **described) == 1
    assert scraped.value(requests, status="404", **described) == 1
    assert scraped.value(requests, endpoint="watchWorkflows", status="200", **space) == 1
    assert scraped.value(requests, endpoint="signIn", status="429", **space) == 2
    assert scraped.value("perdure_gateway_streams", **space) == 1
    assert scraped.value("perdure_gateway_sign_ins_total", outcome="refused", **space) == 10
    assert scraped.value("perdure_gateway_sign_ins_total", outcome="limited", **space) == 2


def test_user_code_measures_really(scraped: Scraped) -> None:
    labels = {"namespace": "default", "task_queue": "q"}
    assert scraped.value("charges_total", activity_type="charge", bank="north", **labels) == 4
    assert scraped.value("orders_total", workflow_type="Order", **labels) == 1
    assert scraped.value("size_seconds_sum", workflow_type="Order", **labels) == 3


def test_the_list_of_metrics_is_what_the_endpoint_has(scraped: Scraped) -> None:
    names = {sample.name for sample in scraped.samples if sample.name.startswith("perdure_")}
    # Triggers are a process of their own, which a broker test asks.
    own = {name for name in _known() if name.startswith("perdure_triggers_")}
    assert {name for name in names if not name.endswith("_created")} == _known() - own


def _known() -> set[str]:
    known = set()
    for metric in METRICS:
        suffixes = ("_bucket", "_count", "_sum") if metric.kind == HISTOGRAM else ("",)
        known |= {metric.prometheus + suffix for suffix in suffixes}
    return known


def _named(expression: str) -> set[str]:
    return set(re.findall(r"perdure_\w+", expression))


def test_the_dashboard_names_only_metrics_there_are() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    panels: list[dict[str, Any]] = [p for p in board["panels"] if p["type"] != "row"]
    named = {
        name for panel in panels for target in panel["targets"] for name in _named(target["expr"])
    }
    assert named <= _known()
    # Whatever is measured is to be seen somewhere.
    shown = {metric.name for metric in METRICS if _prefixed(metric.prometheus, named)}
    assert shown == {metric.name for metric in METRICS}
    assert len({panel["id"] for panel in panels}) == len(panels)


def _prefixed(name: str, named: set[str]) -> bool:
    return any(other.startswith(name) for other in named)


def test_the_alerts_name_only_metrics_there_are_and_say_what_to_do() -> None:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {name for rule in rules for name in _named(rule["expr"])} <= _known()
    for rule in rules:
        assert re.fullmatch(r"Perdure\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} <= set(rule["annotations"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert re.fullmatch(r"\d+[smh]", rule["for"])


def test_the_table_of_operations_is_the_list() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for metric in METRICS:
        row = f"| `{metric.prometheus}` | {metric.kind} | {metric.what} |"
        assert row in page, f"docs/operations.md lacks: {row}"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_port_that_is_taken_is_said_and_ends_the_worker(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "perdure.cli", "engine", "examples.orders.app"),
            *("--data", str(tmp_path), "--port", "0", "--metrics-port", str(port)),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        check=False,
    )
    server.close()
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
