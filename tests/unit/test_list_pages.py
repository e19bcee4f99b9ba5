"""Pages of runs from index rows: always what holding every run against the filter would give."""

from __future__ import annotations

import json
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from perdure_actors import table_layout
from perdure_actors.core.state import Closing, Facts
from perdure_actors.partition.run_cache import CachedRun, Ops, RunCache, RunMemory
from perdure_actors.visibility import counting, listing, query_plan, values
from perdure_actors.visibility import row_cache as listed
from perdure_actors.visibility.counting import open_and_blocked
from perdure_actors.visibility.filters import EVERYTHING, meets
from perdure_actors.visibility.language import parse
from perdure_actors.visibility.listing import list_runs
from perdure_actors.visibility.row_cache import Listed
from perdure_actors.visibility.run_row import RunRow
from perdure_schemas.avro import decode_as
from perdure_schemas.commands import ListWorkflows
from perdure_schemas.events import WorkflowBlocked, WorkflowStarted
from perdure_schemas.payloads import Payload, ReplyTo
from perdure_schemas.replies import Refused, RunPage, RunSummary
from perdure_topics.tables.memory_tables import MemoryTableStore

REPLY = ReplyTo(partition=0, correlation_id="a")
KINDS = {"Customer": b"Keyword", "Tags": b"KeywordList", "Amount": b"Int", "Note": b"Text"}


class Shelf:
    """A table with runs in it, written as a shard writes them."""

    def __init__(self) -> None:
        self.table = MemoryTableStore().open("t")
        self.residents = RunCache(self.table, RunMemory(runs_max=10))
        self.task_queue, self.partition = "q", 3
        self.now_ms: int = 1_000_000
        self.world = SimpleNamespace(now_ms=lambda: self.now_ms)
        self.listed = Listed()

    def unserved(self, task_queue: str) -> str:
        return "no_worker" if task_queue == "idle" else ""

    def start(
        self, run_id: str, start_ms: int, kind: str = "Order", **attributes: Any
    ) -> CachedRun:
        event = WorkflowStarted(workflow_type=kind, search_attributes=_payloads(attributes))
        resident = self.residents.open(f"w-{run_id}", run_id, event, start_ms)
        resident.run.state.seq = 1
        resident.run.touched.add(("started", ""))
        self.save(resident)
        return resident

    def close(self, resident: CachedRun, status: str, time_ms: int) -> None:
        state = resident.run.state
        state.status, state.closing = status, Closing(status, time_ms)
        self.save(resident)

    def block(self, resident: CachedRun) -> None:
        state = resident.run.state
        state.block, state.blocked_ms = WorkflowBlocked(cause="error", message="m"), self.now_ms
        self.save(resident)

    def upsert(self, resident: CachedRun, **attributes: Any) -> None:
        run = resident.run
        run.facts = Facts({}, _payloads(attributes))
        run.touched.add(("facts", ""))
        run.state.seq += 1
        self.save(resident)

    def save(self, resident: CachedRun) -> None:
        ops: Ops = {}
        self.residents.save(resident, ops)
        puts = [(key, value) for key, value in ops.items() if value is not None]
        self.table.write(puts, [key for key, value in ops.items() if value is None])

    def all(self) -> list[RunRow]:
        found = []
        for key, _ in self.table.scan(*table_layout.prefix_range(table_layout.RUNS)):
            row = RunRow.load(self, key[1:].decode())  # type: ignore[arg-type]
            assert row is not None
            found.append(row)
        return found

    def keeps(self, run_id: str) -> bool:
        """Whether a list would take the run from those that were listed lately."""
        first, second = (RunRow.load(self, run_id) for _ in range(2))  # type: ignore[arg-type]
        return first is second

    def page(self, query: str = "", **more: Any) -> RunPage:
        ask = ListWorkflows(partition=3, query=query, reply=REPLY, **more)
        answer = list_runs(self, ask)  # type: ignore[arg-type]
        assert isinstance(answer, RunPage), answer
        return answer

    def found(self, query: str = "", page_size: int = 1000) -> list[str]:
        runs, ranks, token = list[RunSummary](), list[bytes](), b""
        for _ in range(10_000):
            page = self.page(query, page_size=page_size, page_token=token)
            assert len(page.runs) == len(page.ranks) <= page_size
            runs += summaries(page)
            ranks += page.ranks
            token = page.next_page_token
            if not token:
                break
        assert ranks == sorted(ranks)
        return [run.run_id for run in runs]

    def counted(self, query: str = "") -> tuple[int, dict[Any, int]]:
        count, groups, token = 0, dict[Any, int](), b""
        while True:
            page = self.page(query, count_only=True, page_token=token)
            count += page.count
            for group in page.groups:
                (payload,) = group.values
                value = json.loads(payload.data) if payload.data else None
                groups[value] = groups.get(value, 0) + group.count
            token = page.next_page_token
            if not token:
                return count, groups


def summaries(page: RunPage) -> list[RunSummary]:
    return [decode_as(RunSummary, run) for run in page.runs]


def _payloads(attributes: dict[str, Any]) -> dict[str, Payload]:
    return {
        name: Payload(data=json.dumps(value).encode(), metadata={"type": KINDS[name]})
        for name, value in attributes.items()
    }


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a few runs reach."""
    monkeypatch.setattr(listing, "SCANNED_MAX", 7)
    monkeypatch.setattr(counting, "READ_MAX", 5)
    monkeypatch.setattr(counting, "COUNTED_MAX", 4)
    monkeypatch.setattr(query_plan, "SPAN_MAX", 6)
    monkeypatch.setattr(query_plan, "_CHUNK", (2, 4))
    monkeypatch.setattr(values, "ELEMENTS_MAX", 3)


WORDS = ["a", "b", "ab", "a\0", "long" * 70, "long" * 70 + "er", "ü"]
LITERALS = ["'a'", "'b'", "'a b'", "1", "1.5", str(2**53), "'" + "long" * 70 + "'"]
TIMES = ["'1970-01-01T00:00:00.003Z'", "5000000", "5500000", "0"]
STATUSES = ["'Running'", "'Blocked'", "'Completed'"]
FIELDS = ["Customer", "Tags", "Amount", "Note", "WorkflowType", "WorkflowId"]


class Chance(random.Random):
    """Runs and filters drawn by a seed."""

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "Customer": self.choice(WORDS),
            "Tags": self.sample(WORDS, self.randint(0, 5)),
            "Amount": self.choice([-3, 0, 1, 2**53, 2**53 + 1, 1.5]),
            "Note": self.choice(["a b", "A, ab!", "ü b a ab c", ""]),
        }
        return {name: value for name, value in found.items() if self.random() < 0.6}

    def shelf(self) -> Shelf:
        shelf = Shelf()
        for number in range(self.randint(0, 14)):
            kind, start_ms = self.choice(["Order", "Ship"]), self.randint(1, 9)
            resident = shelf.start(f"r-{number}", start_ms, kind, **self.attributes())
            fate = self.choice(["running", "blocked", "completed", "failed", "upserted"])
            if fate == "blocked":
                shelf.block(resident)
            elif fate == "upserted":
                shelf.upsert(resident, **self.attributes())
                shelf.upsert(resident, **self.attributes())
            elif fate != "running":
                shelf.close(resident, fate, start_ms + number)
        return shelf

    def literal(self, field: str) -> str:
        found = self.choice(LITERALS)
        return f"'{found}'" if field.startswith("Workflow") and "'" not in found else found

    def condition(self) -> str:
        field, time = self.choice(FIELDS), self.choice(TIMES)
        word = self.choice(["Customer", "Tags", "WorkflowId"])
        return self.choice(
            [
                f"{field} {self.choice(['=', '!=', '<', '>=', '>', '<='])} {self.literal(field)}",
                f"{field} = {self.literal(field)}",
                f"ExecutionStatus {self.choice(['=', '!='])} {self.choice(STATUSES)}",
                f"ExecutionStatus IN ({self.choice(STATUSES)}, {self.choice(STATUSES)})",
                f"StartTime {self.choice(['=', '<', '>=', '>', '<='])} {time}",
                f"StartTime BETWEEN {time} AND {self.choice(TIMES)}",
                f"StartTime IN ({time}, {self.choice(TIMES)})",
                f"CloseTime {self.choice(['<', '>='])} {time}",
                f"{field} IS {self.choice(['NULL', 'NOT NULL'])}",
                f"{word} STARTS_WITH {self.choice(LITERALS[:3])}",
                f"Amount BETWEEN {self.choice(LITERALS)} AND {self.choice(LITERALS)}",
                f"RunId IN ({self.choice(LITERALS[:2])}, 'r-3')",
            ]
        )

    def query(self, depth: int = 3) -> str:
        """A filter, at times none."""
        if depth == 3 and self.random() < 0.1:
            return ""
        if depth == 0 or self.random() < 0.4:
            return self.condition()
        left, right = self.query(depth - 1) or "Amount = 1", self.query(depth - 1) or "Amount = 1"
        return self.choice([f"({left} AND {right})", f"({left} OR {right})", f"NOT ({left})"])


def met(shelf: Shelf, query: str) -> list[RunRow]:
    """The runs that meet a filter, each held against it."""
    where = parse(query).where if query else EVERYTHING
    return [row for row in shelf.all() if meets(row, where)]


@pytest.mark.parametrize("drawn", range(400))
def test_pages_hold_every_run_that_meets_the_filter_once(drawn: int) -> None:
    chance = Chance(drawn)
    shelf, query = chance.shelf(), chance.query()
    wanted = [row.state for row in met(shelf, query)]
    wanted.sort(key=lambda state: (state.shown_status != "blocked", -state.start_ms, state.run_id))

    assert shelf.found(query, chance.randint(1, 6)) == [state.run_id for state in wanted], query
    assert shelf.counted(query) == (len(wanted), {}), query


@pytest.mark.parametrize("drawn", range(200))
def test_a_sorted_list_holds_the_same_runs(drawn: int) -> None:
    chance = Chance(drawn)
    shelf, query, descends = chance.shelf(), chance.query(), chance.random() < 0.5
    fields = ["StartTime", "CloseTime", "WorkflowId", "ExecutionStatus", "Customer", "Tags"]
    order = chance.choice([*fields, "Amount"])
    wanted = {row.state.run_id: row for row in met(shelf, query)}

    sorted_by = f"ORDER BY {order} {'DESC' if descends else ''}"
    listed = shelf.found(f"{query} {sorted_by}", chance.randint(1, 6))

    assert sorted(listed) == sorted(wanted), (query, sorted_by)
    if order in ("StartTime", "CloseTime", "WorkflowId"):
        held = [wanted[run_id].value(order) for run_id in listed]
        known: list[Any] = [value for value in held if value is not None]
        assert known == sorted(known, reverse=descends)
        assert held == known + [None] * (len(held) - len(known))


@pytest.mark.parametrize("drawn", range(100))
def test_groups_add_up_to_the_count(drawn: int) -> None:
    chance = Chance(drawn)
    shelf, query = chance.shelf(), chance.query()
    by_type = Counter(row.started.workflow_type for row in met(shelf, query))

    assert shelf.counted(f"{query} GROUP BY WorkflowType") == (by_type.total(), dict(by_type))


def test_counts_follow_what_happens_without_a_scan_of_runs() -> None:
    shelf = Shelf()
    one, two = shelf.start("1", 1), shelf.start("2", 2)
    shelf.start("3", 3, "Ship")
    shelf.block(one)
    shelf.close(two, "completed", 9)

    assert open_and_blocked(shelf.table) == (2, 1)
    assert shelf.counted() == (3, {})
    assert shelf.counted("GROUP BY ExecutionStatus") == (
        3,
        {"Running": 1, "Blocked": 1, "Completed": 1},
    )
    assert shelf.counted("WorkflowType = 'Order' AND ExecutionStatus != 'Running'") == (2, {})


def test_counts_forget_what_was_not_accepted() -> None:
    shelf = Shelf()
    shelf.start("1", 1)
    lost = shelf.residents.open("w-2", "2", WorkflowStarted(workflow_type="Order"), 2)
    shelf.residents.save(lost, {})
    shelf.residents.clear()

    shelf.start("3", 3)

    assert shelf.counted() == (2, {})


def test_an_evicted_run_moves_in_the_index_as_any_other() -> None:
    shelf = Shelf()
    shelf.start("first", 1, Customer="a")
    for number in range(30):
        shelf.start(f"later-{number}", 2 + number)
    resident = shelf.residents.find("first")
    assert resident is not None
    shelf.upsert(resident, Customer="b")

    assert shelf.found("Customer = 'a'") == []
    assert shelf.found("Customer = 'b'") == ["first"]
    assert shelf.counted("WorkflowType = 'Order'") == (31, {})


def test_a_page_token_stays_good_while_runs_come_and_block() -> None:
    shelf = Shelf()
    runs = [shelf.start(f"r-{number}", 10 + number) for number in range(6)]
    shelf.block(runs[0])
    first = shelf.page(page_size=3)
    shelf.now_ms += 5
    shelf.start("new", 99)
    shelf.block(runs[1])
    rest = shelf.page(page_size=9, page_token=first.next_page_token)

    assert [run.run_id for run in summaries(first)] == ["r-0", "r-5", "r-4"]
    assert [run.run_id for run in summaries(rest)] == ["r-3", "r-2", "r-1"]


def test_a_list_that_is_asked_for_again_shows_what_has_changed() -> None:
    shelf = Shelf()
    changed = shelf.start("changed", 10, Customer="ada")
    closed = shelf.start("closed", 11, Customer="ada")
    query = "Customer = 'ada' OR Customer = 'bob'"
    before = summaries(shelf.page(query))
    again = summaries(shelf.page(query))
    shelf.upsert(changed, Customer="bob")
    shelf.close(closed, "completed", 20)
    after = {run.run_id: run for run in summaries(shelf.page(query))}
    of_ada = summaries(shelf.page("Customer = 'ada'"))

    assert again == before
    assert after["changed"].search_attributes["Customer"].data == b'"bob"'
    assert after["closed"].status == "completed"
    assert [run.run_id for run in of_ada] == ["closed"]


def test_only_so_many_runs_of_lists_are_kept_and_no_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listed, "LISTED_MAX", 3)
    shelf = Shelf()
    for number in range(5):
        shelf.start(f"r-{number}", 10 + number)
    shelf.start("large", 30, Customer="x" * listed.LISTED_BYTES_MAX)

    first = shelf.page()
    ids = [run.run_id for run in summaries(first)]
    kept = [run_id for run_id in ids if shelf.keeps(run_id)]

    assert ids == ["large", *(f"r-{number}" for number in reversed(range(5)))]
    assert kept == ["r-2", "r-1", "r-0"]


@pytest.mark.parametrize(
    ("query", "token", "says"),
    [
        ("WorkflowType == 'A'", b"", "the filter is wrong at column 15"),
        ("", b"nonsense", "the page token is of another list"),
        ("", b"x" * 5000, "the page token is of another list"),
        ("GROUP BY ExecutionStatus", b"", "GROUP BY is for counts"),
    ],
)
def test_what_cannot_be_listed_is_refused(query: str, token: bytes, says: str) -> None:
    ask = ListWorkflows(partition=3, query=query, page_token=token, reply=REPLY)

    answer = list_runs(Shelf(), ask)  # type: ignore[arg-type]

    assert isinstance(answer, Refused)
    assert answer.code == "invalid"
    assert says in answer.message
