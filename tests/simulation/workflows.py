"""The workflow of the world: a chain of hashes, so that whatever is lost or doubled changes it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from perdure import workflow
from perdure.common import RetryPolicy, SearchAttributeKey
from perdure.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    is_cancelled_exception,
)

TYPE = "chain"
LINK = SearchAttributeKey.for_keyword("Link")
draws = [itertools.count()]
"""What side effects draw from: another value at every call, as of a clock."""


@dataclass
class Step:
    """One thing the workflow does. What a field means depends on the kind."""

    kind: str
    count: int = 1
    run_ms: int = 50
    """How long the activity works."""
    wait_ms: int = 1_000
    """A timer's length, or a timeout's."""
    fails: int = 0
    """How many attempts fail before one succeeds."""
    attempts: int = 0
    """How many are allowed; 0 for any number."""
    plan: dict[str, Any] | None = None
    """What a child is told to do."""
    policy: int = 1
    """What becomes of the child when its parent closes."""
    local: bool = False
    """Whether the activity is run by the host."""
    parks: bool = False
    """Whether the activity waits for a person when it is out of attempts."""


@dataclass
class Plan:
    """What a run is told to do."""

    salt: str
    steps: list[Step] = field(default_factory=list)
    tidies: bool = False
    """Whether a cancelled run runs one more activity before it ends."""
    again: int = 0
    """How often it continues as new."""
    fails: bool = False
    """Whether it fails in the end."""
    fails_first: int = 0
    """How many attempts of it fail in the end, where its start has a retry policy."""


def mix(*parts: str) -> str:
    """The next link of a chain."""
    return hashlib.blake2b("/".join(parts).encode(), digest_size=8).hexdigest()


def _options(step: Step) -> dict[str, Any]:
    limit_ms = step.wait_ms if step.kind == "slow" else 20_000
    options: dict[str, Any] = {
        "start_to_close_timeout": timedelta(milliseconds=limit_ms),
        "retry_policy": RetryPolicy(
            initial_interval=timedelta(milliseconds=300),
            maximum_interval=timedelta(seconds=3),
            maximum_attempts=step.attempts,
        ),
        "result_type": str,
    }
    if step.parks:
        options["on_exhausted"] = "pause"
    if step.kind == "beat" and not step.local:
        options["heartbeat_timeout"] = timedelta(milliseconds=step.wait_ms)
    elif step.kind == "prompt":
        options["schedule_to_start_timeout"] = timedelta(milliseconds=step.wait_ms)
    elif step.kind == "overall":
        options["schedule_to_close_timeout"] = timedelta(milliseconds=step.wait_ms)
    return options


async def _work(step: Step, text: str) -> str:
    try:
        told = [text, step.run_ms, step.fails]
        execute = workflow.execute_local_activity if step.local else workflow.execute_activity
        result: str = await execute("work", args=told, **_options(step))
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return f"failed {text}"
    return result


async def _raise_child(step: Step, chain: str) -> str:
    """A child that begins with the chain as its salt; its result is the next link."""
    assert step.plan is not None
    try:
        result: str = await workflow.execute_child_workflow(
            TYPE,
            {**step.plan, "salt": chain},
            parent_close_policy=workflow.ParentClosePolicy(step.policy),
            result_type=str,
        )
    except ChildWorkflowError as error:
        if is_cancelled_exception(error):
            raise
        return mix(chain, "childless")
    return mix(chain, result)


def _note(chain: str) -> str:
    """Everything that a run notes of itself; the values noted are part of the next link."""
    assert workflow.patched("notes")
    level = workflow.mutable_side_effect("level", lambda: next(draws[0]) // 3)
    drawn = workflow.side_effect(lambda: next(draws[0]))
    workflow.upsert_memo({"link": chain})
    workflow.upsert_search_attributes([LINK.value_set(chain)])
    assert workflow.memo_value("link") == chain
    return mix(chain, str(level), str(drawn))


async def _take(step: Step, chain: str) -> str:
    if step.kind == "note":
        return _note(chain)
    if step.kind == "child":
        return await _raise_child(step, chain)
    if step.kind == "timer":
        await workflow.sleep(timedelta(milliseconds=step.wait_ms))
        return mix(chain, "slept")
    if step.kind == "fan":
        texts = [mix(chain, str(n)) for n in range(step.count)]
        return mix(chain, *await asyncio.gather(*[_work(step, text) for text in texts]))
    if step.kind == "race":
        try:
            async with asyncio.timeout(step.wait_ms / 1000):
                return mix(chain, await _work(step, chain))
        except TimeoutError:
            return mix(chain, "late")
    return mix(chain, await _work(step, chain))


async def _chain(plan: Plan, before_step: Callable[[Step], None]) -> str:
    chain = plan.salt
    try:
        for step in plan.steps:
            before_step(step)
            chain = await _take(step, chain)
    except (ActivityError, ChildWorkflowError, asyncio.CancelledError):
        if plan.tidies:
            with suppress(ActivityError):
                await _work(Step("tidy"), mix(chain, "tidy"))
        raise
    if plan.again:
        rest = Plan(chain, plan.steps, plan.tidies, plan.again - 1, plan.fails, plan.fails_first)
        workflow.continue_as_new(rest)
    if plan.fails:
        raise ApplicationError(chain, type="Planned", non_retryable=True)
    if plan.fails_first >= workflow.info().attempt:
        raise ApplicationError(chain, type="Planned")
    return chain


def _nothing(_step: Step) -> None:
    """Good code has no bug."""


def _bug(step: Step) -> None:
    if step.kind == "bug":
        raise RuntimeError("a bug that the next deploy mends")


class Talks:
    """What can be said to a chain; its result does not depend on it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.signal
    def tell(self, token: str) -> None:
        self.told.append(token)

    @workflow.query
    def all_told(self) -> list[str]:
        return self.told

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def change(self, token: str) -> str:
        await workflow.wait_condition(lambda: len(self.told) >= int(token[-1]) // 3)
        return mix(token)

    @change.validator
    def check_change(self, token: str) -> None:
        if token.endswith("9"):
            raise ApplicationError(token, type="Refused")


@workflow.defn(name=TYPE)
class Chain(Talks):
    @workflow.run
    async def run(self, plan: Plan) -> str:
        return await _chain(plan, _nothing)


@workflow.defn(name=TYPE)
class BuggyChain(Talks):
    @workflow.run
    async def run(self, plan: Plan) -> str:
        return await _chain(plan, _bug)


@workflow.defn(name="other")
class Other:
    @workflow.run
    async def run(self) -> str:
        return "this queue's hosts lack the chain"


CODES: dict[str, type] = {"good": Chain, "buggy": BuggyChain, "unregistered": Other}
