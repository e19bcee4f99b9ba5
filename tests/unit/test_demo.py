"""The demo and its proof: it holds, and the proof notices when something does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.orders.demo import ORDERS, order_of
from examples.orders.proof import check_journal, check_log
from perdure._assembly import open_log
from perdure_schemas.avro import encode
from perdure_schemas.events import WorkflowCompleted, WorkflowStarted
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics

ROOT = Path(__file__).parents[2]


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_demo_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.orders.demo"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=140,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL to the worker" in done.stdout
    assert "SIGKILL to the engine" in done.stdout
    assert "NEEDS A PERSON: order-013, first of 100 in the list" in done.stdout
    assert "perdure activity retry --id order-013" in done.stdout
    assert done.stdout.count("holds  ") == 7
    assert "BROKEN" not in done.stdout


def test_the_orders_are_of_every_kind() -> None:
    orders = [order_of(number) for number in range(ORDERS)]

    kinds = {(order.product_id, order.bank, order.email is None) for order in orders}
    assert kinds == {
        ("lamp", "bank", False),
        ("lamp", "bank", True),
        ("sold-out", "bank", False),
        ("sold-out", "slow-bank", False),
        ("sold-out", "closed-bank", False),
    }
    assert sum(order.bank == "closed-bank" for order in orders) == 1


def journal(path: Path, *lines: tuple[str, str, str]) -> Path:
    written = [
        json.dumps({"order": order, "activity": what, "key": key, "done": True})
        for order, what, key in lines
    ]
    path.write_text("\n".join(written))
    return path


GOOD = (
    ("a", "charge", "a/1"),
    ("a", "charge", "a/1"),
    ("b", "charge", "b/1"),
    ("b", "refund", "b/3"),
    ("c", "charge", "c/1"),
    ("c", "refund", "c/3"),
)


def broken(path: Path, *lines: tuple[str, str, str]) -> list[str]:
    claims = check_journal(journal(path, *lines), failed=["b", "c"], needed_person={"c"})
    return [claim.text for claim in claims if not claim.holds]


def test_a_good_journal_proves_everything(tmp_path: Path) -> None:
    assert broken(tmp_path / "j", *GOOD) == []


def test_a_second_key_of_a_charge_is_noticed(tmp_path: Path) -> None:
    (text,) = broken(tmp_path / "j", *GOOD, ("a", "charge", "a/2"))

    assert "exactly one key" in text


def test_a_missing_refund_is_noticed(tmp_path: Path) -> None:
    without_b = (line for line in GOOD if line[:2] != ("b", "refund"))
    (text,) = broken(tmp_path / "j", *without_b)

    assert "the charge of each refunded" in text


def test_an_order_that_nobody_refunded_is_noticed(tmp_path: Path) -> None:
    without_c = (line for line in GOOD if line[:2] != ("c", "refund"))

    owed, waited = broken(tmp_path / "j", *without_c)

    assert "the charge of each refunded" in owed
    assert "waited for a person" in waited


def test_a_refund_of_an_order_that_did_not_fail_is_noticed(tmp_path: Path) -> None:
    (text,) = broken(tmp_path / "j", *GOOD, ("a", "refund", "a/9"))

    assert "did not fail" in text


def transition(pseq: int, run_id: str, *found: object, nonce: bytes = b"n") -> bytes:
    body = TransitionBody(
        workflow_id=run_id,
        run_id=run_id,
        seq=1,
        events=[encode(event) for event in found],  # type: ignore[arg-type]  # events only
    )
    return encode(
        Transition(
            epoch=5,
            nonce=nonce,
            pseq=pseq,
            after=-1,
            upto=-1,
            dispatched=0,
            time_ms=1,
            body=encode(body),
        )
    )


@pytest.mark.parametrize(
    ("doubled", "stale", "broken"),
    [(False, False, 0), (False, True, 0), (True, False, 1)],
    ids=["one end", "a stale second end", "two ends"],
)
def test_a_second_terminal_event_is_noticed_only_where_it_counts(
    tmp_path: Path, doubled: bool, stale: bool, broken: int
) -> None:
    log, close = open_log(f"file:{tmp_path}")
    create_topics(log, "default", "orders", partitions=1)
    topic = topic_name("events", "default", "orders")
    end = WorkflowCompleted()
    records = [
        encode(EpochBump(epoch=5, nonce=b"n", input_topic_id="t", owner="o", time_ms=1)),
        transition(1, "run", WorkflowStarted(workflow_type="W"), end),
    ]
    if doubled:
        records.append(transition(2, "run", end))
    if stale:
        records.append(transition(2, "run", end, nonce=b"of another owner"))
    appender = log.appender(on_ready=lambda: None)
    for record in records:
        appender.append(topic, 0, record)
    appender.close(flush_s=5)
    close()

    claims = check_log(tmp_path, task_queue="orders", orders=1)

    assert [claim.holds for claim in claims].count(False) == broken
