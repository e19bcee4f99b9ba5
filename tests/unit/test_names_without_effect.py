"""Names of Temporal's that are taken and change nothing: calls with them run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perdure import service, workflow
from perdure.client import Client, PendingActivityState
from perdure.testing import WorkflowEnvironment
from perdure.worker import (
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from perdure.worker.workflow_sandbox import (
    RestrictedWorkflowAccessError,
    SandboxedWorkflowRunner,
    SandboxMatcher,
    SandboxRestrictions,
    UnintentionalPassthroughError,
)
from perdure.workflow import SandboxImportNotificationPolicy as Policy
from perdure_schemas.replies import PendingActivity


class Own(WorkflowRunner):
    """A runner of a user's, which no worker asks."""

    def prepare_workflow(self, defn: Any) -> None:
        raise AssertionError("nobody asks for it")

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        raise AssertionError("nobody asks for it")


@workflow.defn
class Relaxed:
    @workflow.run
    async def run(self) -> str:
        workflow.logger.unsafe_disable_sandbox()
        with workflow.unsafe.sandbox_import_notification_policy(Policy.SILENT):
            assert workflow.unsafe.current_import_notification_policy_override() is None
        return "done"


RESTRICTIONS = SandboxRestrictions.default.with_passthrough_modules(
    "x"
).with_passthrough_all_modules()


@pytest.mark.embedded
@pytest.mark.parametrize(
    "runner",
    [
        Own(),
        UnsandboxedWorkflowRunner(),
        SandboxedWorkflowRunner(
            restrictions=RESTRICTIONS.with_import_notification_policy(Policy.SILENT)
        ),
    ],
)
async def test_a_worker_runs_with_any_runner(runner: WorkflowRunner) -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Relaxed], workflow_runner=runner),
    ):
        handle = await env.client.start_workflow(Relaxed.run, id="w", task_queue="q")
        assert await handle.result() == "done"
        history = await handle.fetch_history()
    runner.set_worker_level_failure_exception_types([ValueError])
    replayer = Replayer(workflows=[Relaxed], workflow_runner=runner, workflow_task_executor=None)
    await replayer.replay_workflow(history)


def test_runners_of_temporals_make_no_instance() -> None:
    details: Any = None
    runner = UnsandboxedWorkflowRunner()

    runner.prepare_workflow(Relaxed)
    with pytest.raises(RuntimeError, match="give workflows to a Worker"):
        runner.create_instance(details)


def test_matchers_name_what_is_in_them() -> None:
    inner = SandboxMatcher(access=frozenset({"now"}), use=frozenset({"today"}))
    matcher = SandboxMatcher.nested_child(["datetime", "datetime"], inner)
    both = matcher | SandboxMatcher.nested_child(
        ["datetime", "datetime"], SandboxMatcher(access=frozenset({"utcnow"}))
    )

    assert matcher.match_access(None, "datetime", "datetime", "now")
    assert not matcher.match_access(None, "datetime", "datetime", "utcnow")
    assert not matcher.match_access(None, "datetime", "datetime", "today")
    assert matcher.match_access(None, "datetime", "datetime", "today", include_use=True)
    assert both.match_access(None, "datetime", "datetime", "utcnow")
    assert matcher.child_matcher("datetime", "datetime") == inner
    assert matcher.child_matcher("time", "x") is None
    left = both.with_child_unrestricted("datetime", "datetime", "now")
    assert not left.match_access(None, "datetime", "datetime", "now")
    assert left.match_access(None, "datetime", "datetime", "utcnow")
    assert both.with_child_unrestricted("datetime").child_matcher("datetime") is None
    assert both.with_child_unrestricted("time", "x") == both
    assert SandboxMatcher.all.match_access(None, "anything")
    assert SandboxMatcher.all_uses.match_access(None, "anything", include_use=True)
    assert not SandboxMatcher.none.match_access(None, "anything")
    with pytest.raises(ValueError, match="the path of a child"):
        both.with_child_unrestricted()


def test_errors_of_a_sandbox_say_what_to_do() -> None:
    assert "in an activity" in str(RestrictedWorkflowAccessError("time.time"))
    error = UnintentionalPassthroughError("x.y")
    assert error.qualified_name == "x.y"
    assert isinstance(error, RestrictedWorkflowAccessError)


@pytest.mark.parametrize(
    ("state", "paused_ms", "found"),
    [
        ("scheduled", 0, PendingActivityState.SCHEDULED),
        ("backing_off", 0, PendingActivityState.SCHEDULED),
        ("started", 0, PendingActivityState.STARTED),
        ("started", 5, PendingActivityState.PAUSE_REQUESTED),
        ("paused", 5, PendingActivityState.PAUSED),
        ("of a newer release", 0, PendingActivityState.UNSPECIFIED),
    ],
)
def test_states_of_activities_have_temporals_numbers(
    state: str, paused_ms: int, found: PendingActivityState
) -> None:
    activity = PendingActivity(
        activity_id="1", activity_type="a", attempt=1, state=state, paused_ms=paused_ms
    )

    assert PendingActivityState.of(activity) is found


@pytest.mark.embedded
async def test_options_of_grpc_are_taken(tmp_path: Path) -> None:
    assert service.LOG_PROTOS is False
    client = await Client.connect(f"file:{tmp_path}/log", keep_alive_config=None, lazy=True)
    await client.close()
