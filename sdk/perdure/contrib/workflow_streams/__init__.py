"""Streams that a workflow serves: items by topic, each with an offset, kept in its own state.

Workflow code makes a `WorkflowStream` in its `@workflow.init` and publishes to it; activities and
other programs publish and read with a `WorkflowStreamClient`. Items come by signals, each batch
once; readers wait in updates. A stream moves on by `continue_as_new` with its state.
"""

from __future__ import annotations

from perdure.contrib.workflow_streams._stream_client import WorkflowStreamClient
from perdure.contrib.workflow_streams._stream_records import (
    PollInput,
    PollResult,
    PublishEntry,
    PublisherState,
    PublishInput,
    WorkflowStreamItem,
    WorkflowStreamState,
)
from perdure.contrib.workflow_streams._stream_topics import TopicHandle, WorkflowTopicHandle
from perdure.contrib.workflow_streams._workflow_stream import WorkflowStream

__all__ = [
    "PollInput",
    "PollResult",
    "PublishEntry",
    "PublishInput",
    "PublisherState",
    "TopicHandle",
    "WorkflowStream",
    "WorkflowStreamClient",
    "WorkflowStreamItem",
    "WorkflowStreamState",
    "WorkflowTopicHandle",
]
