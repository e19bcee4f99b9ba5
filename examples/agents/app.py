"""A support agent on pydantic-ai's own durable execution, unmodified: it survives its process.

    python -m examples.agents.app "Where is my parcel?" --data ./data

Kill it at any moment and run the same line again: calls of the model and of tools whose results
are in the log are not made again. The model is a function here, so nothing leaves this machine;
give the agent a real one, such as `Agent("anthropic:...")`, and nothing else changes.
"""

from __future__ import annotations

import perdure.as_temporalio  # noqa: F401 - first: pydantic-ai knows durable work as temporalio

# isort: split
import argparse
import asyncio
import os
import uuid
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.durable_exec.temporal import (
    PydanticAIPlugin,
    PydanticAIWorkflow,
    TemporalDurability,
)
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from perdure import workflow
from perdure.client import Client
from perdure.common import WorkflowIDReusePolicy
from perdure.exceptions import WorkflowAlreadyStartedError
from perdure.worker import Worker

TASK_QUEUE = "agents"
JOURNAL_VARIABLE = "AGENT_JOURNAL"
PLAN = ("find_order", "refund", "tell_customer")


def noted(what: str) -> str:
    """Note a call where a test reads it; a number that no other call has."""
    number = uuid.uuid4().hex[:8]
    path = os.environ.get(JOURNAL_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as journal:
            journal.write(f"{what} {number}\n")
    return number


async def thinks(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """A model: it calls each tool of its plan once, and then says what it was told."""
    told = [
        part.content
        for message in messages
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]
    number = noted(f"model-{len(told)}")
    await asyncio.sleep(0.2)
    if len(told) < len(PLAN):
        return ModelResponse(parts=[ToolCallPart(PLAN[len(told)], {"order": "order-7"})])
    return ModelResponse(parts=[TextPart(" ".join([*map(str, told), f"model-{number}"]))])


agent = Agent(FunctionModel(thinks), name="support", capabilities=[TemporalDurability()])


async def done(what: str, order: str) -> str:
    """What a tool does, here: it takes its time, and says which call of it this was."""
    number = noted(what)
    await asyncio.sleep(0.2)
    return f"{order}:{what}-{number}"


@agent.tool_plain
async def find_order(order: str) -> str:
    """Find an order."""
    return await done("find_order", order)


@agent.tool_plain
async def refund(order: str) -> str:
    """Give the money back."""
    return await done("refund", order)


@agent.tool_plain
async def tell_customer(order: str) -> str:
    """Write to the customer."""
    return await done("tell_customer", order)


@workflow.defn
class SupportWorkflow(PydanticAIWorkflow):
    """Answers one question."""

    __pydantic_ai_agents__ = (agent,)

    @workflow.run
    async def run(self, question: str) -> str:
        result = await agent.run(question)
        return result.output


async def answer(question: str, data: str) -> str:
    """Ask, or go on with what was asked before."""
    client = await Client.connect(f"file:{data}", plugins=[PydanticAIPlugin()])
    try:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[SupportWorkflow]):
            try:
                handle = await client.start_workflow(
                    SupportWorkflow.run,
                    question,
                    id="support",
                    task_queue=TASK_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:
                handle = client.get_workflow_handle_for(SupportWorkflow.run, "support")
            return await handle.result()
    finally:
        await client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--data", default="./data")
    options = parser.parse_args()
    print(asyncio.run(answer(options.question, options.data)))
