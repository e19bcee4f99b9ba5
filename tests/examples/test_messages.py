"""The examples of the first steps and of messages do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.conversation.app import TASK_QUEUE as CARTS
from examples.conversation.app import Cart, add
from examples.entity.app import TASK_QUEUE as ACCOUNTS
from examples.entity.app import Account, Standing
from examples.hello import app as hello_app
from examples.parallel.app import TASK_QUEUE as COUNTS
from examples.parallel.app import Count, Fastest, count, fetch
from perdure.client import WorkflowUpdateFailedError
from perdure.testing import WorkflowEnvironment
from perdure.worker import Worker

ROOT = Path(__file__).parents[2]


async def test_hello_greets(tmp_path: Path) -> None:
    assert await hello_app.main(f"file:{tmp_path}") == "Hello, world!"


async def test_words_are_counted_at_once_and_the_faster_mirror_wins() -> None:
    async with (
        await WorkflowEnvironment.start_local() as env,
        Worker(
            env.client, task_queue=COUNTS, workflows=[Count, Fastest], activities=[count, fetch]
        ),
    ):
        pages = [f"page {'word ' * number}" for number in range(30)]
        counted = await env.client.execute_workflow(Count.run, pages, id="c", task_queue=COUNTS)
        page = await env.client.execute_workflow(
            Fastest.run, ["slow mirror", "quick mirror"], id="f", task_queue=COUNTS
        )

    assert counted == sum(range(1, 31))
    assert page == "a page of quick mirror"


async def test_a_cart_is_told_asked_and_changed() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue=CARTS, workflows=[Cart]),
    ):
        assert await add(env.client, "cart-1", "rug", 2) == 2
        assert await add(env.client, "cart-1", "rug", 3) == 5
        cart = env.client.get_workflow_handle_for(Cart.run, "cart-1")
        await cart.signal(Cart.wish, "lamp")
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await cart.execute_update(Cart.add, args=["rug", 6])
        assert "1 to 10 of each" in str(caught.value.cause)
        assert await cart.query(Cart.items) == {"rug": 5}
        assert await cart.query(Cart.wishes) == ["lamp"]
        assert await cart.execute_update(Cart.check_out) == {"rug": 5}
        assert await cart.result() == {"rug": 5}
        forgotten = await env.client.execute_workflow(Cart.run, id="cart-2", task_queue=CARTS)

    assert forgotten == {}


async def test_an_account_lives_on_over_its_runs() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue=ACCOUNTS, workflows=[Account]),
    ):
        account = await env.client.start_workflow(
            Account.run, Standing("ann", moves_a_run=3), id="ann", task_queue=ACCOUNTS
        )
        newest = env.client.get_workflow_handle_for(Account.run, "ann")
        for number in range(1, 8):
            await newest.execute_update(Account.deposit, number)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await newest.execute_update(Account.withdraw, 29)
        assert "28 is all there is" in str(caught.value.cause)
        assert await newest.execute_update(Account.withdraw, 8) == 20
        standing = await newest.query(Account.standing)
        runs = [run async for run in env.client.list_workflows("WorkflowId = 'ann'")]
        await newest.signal(Account.close)
        left = await account.result()

    assert left == 20
    assert standing == Standing("ann", 20, 8, [4, 5, 6, 7, -8], 3)
    assert len(runs) == 3
    assert sum(run.close_time is None for run in runs) == 1


def test_every_example_has_its_line() -> None:
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/__init__.py")}
    told = (ROOT / "examples" / "README.md").read_text("utf-8")

    assert [name for name in folders if f"| [{name}](" not in told] == []
