"""Ten workflows as users write them, each with one bug, and what must hold of each."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError
from perdure.testing import Faults, Journal, Outcome, effect

A_MINUTE = timedelta(minutes=1)
TEN = RetryPolicy(maximum_attempts=10)


def call(fn: Any, *args: Any, **options: Any) -> Any:
    options = {"start_to_close_timeout": A_MINUTE, "retry_policy": TEN, **options}
    return workflow.execute_activity(fn, args=list(args), **options)


@dataclass(frozen=True)
class Planted:
    """A workflow with a bug, and the invariant that says so."""

    workflow: Any
    activities: Any
    invariant: Callable[..., Any] | None
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@activity.defn
async def pay(cents: int) -> str:
    """Bug: each attempt has a key of its own."""
    effect("payment", key=str(uuid.uuid4()))
    return "paid"


@workflow.defn
class Payment:
    @workflow.run
    async def run(self) -> str:
        return str(await call(pay, 100))


def one_key(journal: Journal) -> None:
    assert len({one["key"] for one in journal.effects("payment")}) <= 1, "two payments"


@activity.defn
async def reserve(what: str) -> str:
    effect("reserve", what=what)
    return what


@activity.defn
async def free(what: str) -> None:
    effect("free", what=what)


@workflow.defn
class Trip:
    """Bug: what was reserved before the failure is not given back when the car fails."""

    @workflow.run
    async def run(self) -> str:
        await call(reserve, "flight")
        try:
            await call(reserve, "hotel")
        except ActivityError as error:
            await call(free, "flight")
            raise ApplicationError("no hotel") from error
        await call(reserve, "car")
        return "booked"


def all_or_nothing(outcome: Outcome, journal: Journal) -> None:
    if outcome.failed:
        held = {one["what"] for one in journal.effects("reserve")}
        held -= {one["what"] for one in journal.effects("free")}
        assert not held, f"still reserved: {sorted(held)}"


@activity.defn
async def withdraw(cents: int) -> None:
    effect("withdraw", key=activity.info().idempotency_key, cents=cents)


@activity.defn
async def deposit(cents: int) -> None:
    effect("deposit", key=activity.info().idempotency_key, cents=cents)


@workflow.defn
class Transfer:
    """Bug: a deposit that is refused leaves the money nowhere."""

    @workflow.run
    async def run(self) -> None:
        await call(withdraw, 50)
        await call(deposit, 50)


def money_stays(journal: Journal) -> bool:
    taken = {one["key"] for one in journal.effects("withdraw")}
    given = {one["key"] for one in journal.effects("deposit")}
    return len(given) >= len(taken)


class Counter:
    """A stock that an activity changes by a difference. Bug: a retry takes it off again."""

    def __init__(self) -> None:
        self.left = 10

    @activity.defn
    async def take_one(self) -> int:
        self.left -= 1
        return self.left


@workflow.defn
class Stock:
    @workflow.run
    async def run(self) -> int:
        return int(
            await workflow.execute_activity_method(
                Counter.take_one, start_to_close_timeout=A_MINUTE, retry_policy=TEN
            )
        )


def one_is_taken(state: Counter) -> None:
    assert state.left >= 9, f"{10 - state.left} were taken"


@activity.defn
async def publish(text: str) -> None:
    effect("publish", text=text)


@workflow.defn
class Approval:
    """Bug: a signal that comes before the question is thrown away by it."""

    def __init__(self) -> None:
        self.said: str | None = None

    @workflow.signal
    def approve(self, who: str) -> None:
        self.said = who

    @workflow.run
    async def run(self) -> str:
        await call(publish, "please approve")
        self.said = None
        await workflow.wait_condition(lambda: self.said is not None)
        return f"approved by {self.said}"


@workflow.defn(name="Newsletter")
class Newsletter:
    @workflow.run
    async def run(self) -> None:
        await call(publish, "one")
        await call(publish, "two")


@workflow.defn(name="Newsletter")
class NewsletterLater:
    """Bug: a release with another order, and no patch."""

    @workflow.run
    async def run(self) -> None:
        await call(publish, "zero")
        await workflow.sleep(1)
        await call(publish, "two")


@activity.defn
async def lock() -> None:
    effect("lock")


@activity.defn
async def unlock() -> None:
    effect("unlock")


@workflow.defn
class Locked:
    """Bug: the lock is not given back when the work between fails."""

    @workflow.run
    async def run(self) -> None:
        await call(lock)
        await call(publish, "work")
        await call(unlock)


def unlocked(journal: Journal) -> None:
    assert not journal.effects("lock") or journal.effects("unlock"), "still locked"


@activity.defn
async def quote(shop: str) -> int:
    return len(shop)


@workflow.defn
class Cheapest:
    """Bug: it takes the first answer for that of the first shop."""

    @workflow.run
    async def run(self) -> dict[str, int]:
        shops = ["aa", "bbbb"]
        waiting = [asyncio.create_task(call(quote, shop)) for shop in shops]
        found = [await one for one in asyncio.as_completed(waiting)]
        return dict(zip(shops, found, strict=True))


def prices_fit(outcome: Outcome) -> bool:
    return not outcome.completed or all(len(shop) == p for shop, p in outcome.result.items())


@activity.defn
async def mail(text: str) -> None:
    effect("mail", text=text)


@workflow.defn
class Reminder:
    """Bug: it goes on as if a mail that timed out had not been sent."""

    @workflow.run
    async def run(self) -> None:
        once = RetryPolicy(maximum_attempts=1)
        try:
            await call(mail, "pay please", retry_policy=once)
        except ActivityError:
            await call(mail, "pay please", retry_policy=once)


def one_mail(journal: Journal) -> None:
    assert len(journal.effects("mail")) <= 1, "two mails"


@workflow.defn
class Import:
    """Bug: a plain exception of the code, where an activity has failed: the run is blocked."""

    @workflow.run
    async def run(self) -> int:
        rows: list[int] = []
        with contextlib.suppress(ActivityError):
            rows.append(await call(quote, "row"))
        return rows[0]


PLANTED = [
    Planted(Payment, [pay], one_key),
    Planted(Trip, [reserve, free], all_or_nothing, options={"faults": Faults(steady={"free"})}),
    Planted(Transfer, [withdraw, deposit], money_stays),
    Planted(Stock, Counter, one_is_taken),
    Planted(Approval, [publish], None, options={"signals": [(Approval.approve, "ada")]}),
    Planted(Newsletter, [publish], None, options={"releases": [NewsletterLater]}),
    Planted(Locked, [lock, unlock, publish], unlocked),
    Planted(Cheapest, [quote], prices_fit),
    Planted(Reminder, [mail], one_mail),
    Planted(Import, [quote], None),
]
