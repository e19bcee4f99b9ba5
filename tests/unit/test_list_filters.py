"""The list filter: what it means, and what is said of one that cannot be understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from perdure_actors.visibility.filters import meets
from perdure_actors.visibility.language import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    FilterError,
    Order,
    Query,
    parse,
)
from perdure_actors.visibility.values import Attribute, attribute_of
from perdure_schemas.payloads import Payload


@dataclass
class Row:
    fields: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        return self.fields.get(name)

    def attribute(self, name: str) -> Attribute | None:
        return self.attributes.get(name)


def held(data: bytes, kind: bytes) -> Attribute:
    found = attribute_of(Payload(data=data, metadata={"type": kind}))
    assert found is not None
    return found


NINE_NS = 1_763_974_800_000_000_000  # 2025-11-24T09:00:00Z
ROW = Row(
    {
        "WorkflowType": "Order",
        "WorkflowId": "order-7",
        "ExecutionStatus": "running",
        "StartTime": NINE_NS,
        "ExecutionDuration": 90_000_000_000,
        "HistoryLength": 12,
        "TaskQueue": "it's",
    },
    {
        "Customer": held(b'"c-1"', b"Keyword"),
        "Tags": held(b'["red","big"]', b"KeywordList"),
        "Amount": held(b"40", b"Int"),
        "Weight": held(b"1.5", b"Double"),
        "Gift": held(b"true", b"Bool"),
        "Due": held(b'"2026-01-02T00:00:00+01:00"', b"Datetime"),
        "Note": held(b'"The quick, brown fox"', b"Text"),
    },
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "WorkflowType = 'Order'",
        'WorkflowType = "Order" AND Order_id IS NULL',
        "WorkflowType != 'Other'",
        "WorkflowId STARTS_WITH 'order-'",
        "WorkflowId NOT STARTS_WITH 'invoice-'",
        "WorkflowType IN ('A', 'Order')",
        "WorkflowType NOT IN ('A', 'B')",
        "WorkflowType >= 'Ora' AND WorkflowType < 'Orz'",
        "ExecutionStatus = 'Running'",
        "ExecutionStatus IN ('RUNNING', 'blocked', 'TimedOut')",
        "NOT ExecutionStatus = 'Blocked'",
        "StartTime = '2025-11-24T09:00:00Z'",
        "StartTime > '2025-11-24T09:59:59+01:00'",
        f"StartTime BETWEEN {NINE_NS} AND {NINE_NS}",
        "StartTime NOT BETWEEN '2025-11-24' AND '2025-11-24T08:59:59'",
        "ExecutionDuration = '1m30s'",
        "ExecutionDuration < '00:01:31' AND ExecutionDuration >= '1.5m'",
        "ExecutionDuration = 90000000000",
        "HistoryLength > 11 and HistoryLength < 12.5",
        "TaskQueue = 'it''s' AND TaskQueue = 'it\\'s' AND TaskQueue = \"it's\"",
        "CloseTime IS NULL",
        "StartTime IS NOT NULL",
        "Customer = 'c-1' OR Customer = 'c-2'",
        "`Customer` = 'c-1'",
        "Customer BETWEEN 'c-0' AND 'c-2'",
        "Tags = 'red' AND Tags IN ('big', 'small') AND Tags STARTS_WITH 'bi'",
        "Tags != 'blue'",
        "Amount = 40 AND Amount = 40.0 AND Amount > 39.9",
        "Weight <= 1.5",
        "Gift = true AND Gift != false",
        "Due = '2026-01-01T23:00:00Z' AND Due > '2026-01-01'",
        "Note = 'fox' AND Note = 'QUICK fox' AND Note != 'cat'",
        "Missing IS NULL AND Missing != 3 AND NOT Missing = 3",
        "(Amount = 1 OR Amount = 40) AND (Gift = true)",
        "Amount = 40 OR Amount = 1 AND Amount = 2",
        "NOT (Amount = 1 OR Gift = false)",
        "Nothing IS NULL AND Inventory IS NULL AND Android IS NULL",
    ],
)
def test_a_run_meets_it(query: str) -> None:
    assert meets(ROW, parse(query).where)


@pytest.mark.parametrize(
    "query",
    [
        "WorkflowType = 'order'",
        "WorkflowType != 'Order'",
        "ExecutionStatus != 'Running'",
        "CloseTime > 0",
        "CloseTime < 0",
        "Missing = 3",
        "Amount = '40'",
        "Customer = 1",
        "Gift = 'true'",
        "Tags NOT IN ('red')",
        "Tags = 'red,big'",
        "Note = 'fox cat'",
        "Note > 'a'",
        "Due = 'soon'",
        "(Amount = 40 OR Amount = 1) AND Amount = 2",
        "NOT NOT Amount = 41",
    ],
)
def test_a_run_does_not_meet_it(query: str) -> None:
    assert not meets(ROW, parse(query).where)


@pytest.mark.parametrize("query", ["", " ", "\n\t "])
def test_nothing_asks_for_every_run(query: str) -> None:
    assert parse(query) == parse(query, counts=True) == Query()


def test_a_list_is_sorted_and_a_count_grouped() -> None:
    assert parse("Amount > 3 ORDER BY Customer DESC").order == Order("Customer", descends=True)
    assert parse("ORDER BY StartTime").order == Order("StartTime", descends=False)
    assert parse("order by `x y` asc").order == Order("x y", descends=False)
    assert parse("Amount > 3 GROUP BY ExecutionStatus", counts=True).group == "ExecutionStatus"


@pytest.mark.parametrize(
    ("query", "counts", "column", "says"),
    [
        ("WorkflowType == 'A'", False, 15, "there is '='"),
        ("WorkflowType = A", False, 16, "a text in quotes"),
        ("WorkflowType = 'A", False, 16, "never closed"),
        ("WorkflowType = ", False, 15, "it ends"),
        ("Amount = 1 AND", False, 15, "it ends"),
        ("Amount", False, 7, "an operator"),
        ("(Amount = 1", False, 12, "where ) should be"),
        ("Amount IN ()", False, 12, "there is ')'"),
        ("Amount = 1 Customer = 2", False, 12, "where AND"),
        ("Workflowtype = 'A'", False, 1, "write WorkflowType"),
        ("ExecutionStatus = 'Runing'", False, 19, "one of Running, Blocked"),
        ("ExecutionStatus > 'Running'", False, 1, "has no order"),
        ("StartTime > 'yesterday'", False, 13, "a time as"),
        ("ExecutionDuration > '5 parsecs'", False, 21, "a duration as"),
        ("HistoryLength = 'long'", False, 17, "takes a number"),
        ("WorkflowId STARTS_WITH 3", False, 24, "texts only"),
        ("StartTime STARTS_WITH '2026'", False, 23, "texts only"),
        ("Amount = 1e999", False, 10, "larger than any number"),
        ("ORDER BY HistoryLength", False, 10, "sorted by HistoryLength"),
        ("ORDER BY StartTime DESC, WorkflowId", False, 24, "grouped, by one field"),
        ("GROUP BY ExecutionStatus, WorkflowType", True, 25, "grouped, by one field"),
        ("Amount = 1, Customer = 2", False, 11, "where AND"),
        ("Amount = 1; DROP TABLE", False, 11, "there is '; DROP"),
        ("GROUP BY ExecutionStatus", False, 0, "GROUP BY is for counts"),
        ("ORDER BY StartTime", True, 0, "ORDER BY is for lists"),
        ("NOT " * 60 + "Amount = 1", False, 0, f"more than {DEPTH_MAX} deep"),
        ("(" * 2000 + "Amount = 1", False, 2011, "it ends"),
        (" OR ".join(["Amount = 1"] * 200), False, 0, f"{CONDITIONS_MAX} is the most"),
        ("Amount IN (" + ",".join(["1"] * 600) + ")", False, 0, "600 values"),
        ("x" * 10_001, False, 0, "10000 is the most"),
    ],
)
def test_a_wrong_filter_is_told_where_and_what(
    query: str, counts: bool, column: int, says: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse(query, counts=counts)

    assert says in str(caught.value)
    if column:
        assert f"at column {column}: " in str(caught.value)
