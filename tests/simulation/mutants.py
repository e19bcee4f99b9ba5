"""The bugs that are planted, the faults that bring each out, and what may catch it."""

from __future__ import annotations

from unittest.mock import patch

from perdure._schedules.scheduler import Scheduler
from perdure_actors.core import attempts, child_reports
from perdure_actors.partition import local_activities as locals_
from perdure_actors.partition import recovery, transition
from perdure_actors.partition.decide_command import CommandDecider
from perdure_actors.partition.dedup import Dedup
from perdure_actors.partition.fence import Fence
from perdure_actors.partition.inbox import Inbox
from perdure_actors.partition.input_outcomes import InputOutcomes
from perdure_actors.partition.journal import Journal
from perdure_actors.partition.local_activities import LocalActivities
from perdure_actors.partition.outbox import Outbox
from perdure_actors.partition.pending_requests import PendingRequests
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.partition.recovery import Recovery
from perdure_actors.partition.run_cache import RunCache, RunMemory
from perdure_actors.partition.scrubber import Scrubber
from perdure_actors.partition.signal_buffer_store import SignalBufferStore
from perdure_actors.partition.takeover import Takeover
from perdure_actors.partition.timer_service import TimerQueue
from perdure_actors.partition.transition import Transitions
from perdure_actors.partition.watermark import Watermark
from perdure_actors.replay import coroutine
from perdure_topics import fold
from tests.simulation import bugs, feature_bugs, message_bugs
from tests.simulation.eager_bugs import EAGER
from tests.simulation.keep_bugs import KEEPS
from tests.simulation.life_bugs import LIFE
from tests.simulation.mutant import LOST, OWNERS, Mutant
from tests.simulation.time_bugs import TIME
from tests.simulation.worker_bugs import STOPS
from tests.simulation.workers import SimWorker

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "own at the bump's ack, read back before it",
        bugs.patched(Takeover, "_read", bugs.own_at_ack),
        (*LOST, *OWNERS, "reader_lag"),
        "ABCDEFGHRTX",
    ),
    Mutant(
        "successes only, errors are logged",
        bugs.patched(Journal, "accept", bugs.successes_only),
        LOST,
        "ABCDEFGHRX",
    ),
    Mutant(
        "a success without offset is one",
        bugs.patched(Journal, "accept", bugs.none_is_fine),
        ("no_offset", *OWNERS, *LOST),
        "ABCDEFGHRX",
    ),
    Mutant(
        "gaps are not looked at",
        bugs.patched(Journal, "accept", bugs.gaps_are_fine),
        (*OWNERS, *LOST),
        "ABCDEFGHRX",
    ),
    Mutant(
        "newest bump is the last by position",
        bugs.patched(fold, "_fold_bump", bugs.bump_by_position),
        (*LOST, *OWNERS, "clock_skew"),
        "ABCDEFGHRX",
    ),
    Mutant(
        "pseq restarts with an epoch",
        bugs.patched(fold, "_fold_bump", bugs.pseq_restarts),
        OWNERS,
        "ABCDEFGHRX",
    ),
    Mutant(
        "a bump keeps the open parts' pseqs",
        bugs.patched(fold, "_fold_bump", bugs.parts_kept),
        ("parts", *LOST, *OWNERS),
        "ABCDEFGHRX",
    ),
    Mutant(
        "no epoch check",
        bugs.patched(fold, "_fold_transition", bugs.no_epoch),
        (*LOST, *OWNERS),
        "ABCDEFGHRX",
    ),
    Mutant(
        "no pseq check", bugs.patched(fold, "_fold_transition", bugs.no_pseq), LOST, "ABCDEFGHRX"
    ),
    Mutant(
        "parts are counted singly",
        bugs.patched(fold, "_fold_transition", bugs.parts_singly),
        ("parts", *OWNERS),
        "ABCDEFGHRX",
    ),
    Mutant(
        "rebuilt without the log's tail",
        bugs.patched(Recovery, "_apply", bugs.skip_tail),
        (*LOST, *OWNERS),
        "ABCDEFGHRTX",
    ),
    Mutant(
        "request ids are not folded",
        bugs.patched(recovery, "outcome_rows", bugs.requests_forgotten),
        (*OWNERS, "table_damage", "table_loss", "reader_lag"),
        "AGRX",
    ),
    Mutant(
        "table only checked for being ahead",
        lambda: bugs.together(
            bugs.patched(Recovery, "take", bugs.take_anyway),
            bugs.patched(Scrubber, "step", bugs.no_step),
        ),
        ("truncation", "host_crash", "host_pause"),
        "CEHRX",
    ),
    Mutant(
        "a part's last pseq names it after recovery",
        bugs.patched(Recovery, "_apply", bugs.last_part_names),
        ("parts", *OWNERS),
        "BDFHRX",
    ),
    Mutant(
        "table written before acceptance",
        bugs.patched(Transitions, "append", bugs.write_first),
        (*LOST, *OWNERS),
        "ABCDEFGHRX",
    ),
    Mutant(
        "tasks leave before acceptance",
        bugs.patched(Transitions, "append", bugs.act_first),
        (*LOST, *OWNERS),
        "BF",
    ),
    Mutant(
        "effect sender skips what fails",
        bugs.patched(Outbox, "step", bugs.skips_errors),
        (*LOST, "worker_late"),
        "AH",
    ),
    Mutant(
        "dispatched means sent",
        bugs.patched(Outbox, "dispatched", property(bugs.dispatched_when_sent)),
        ("slow_append", "host_crash", "outage"),
        "AH",
    ),
    Mutant(
        "effects that were acknowledged are kept for ever",
        bugs.patched(Journal, "write", bugs.effects_kept),
        (),
        "R",
        ("children",),
    ),
    Mutant(
        "no fence round an input",
        bugs.patched(Fence, "attempt", bugs.without_a_fence),
        ("faulty",),
        "X",
    ),
    Mutant(
        "an input that fails is passed over",
        bugs.patched(InputOutcomes, "fail", bugs.says_nothing),
        ("faulty",),
        "A",
    ),
    Mutant(
        "refusals leave at once",
        bugs.patched(InputOutcomes, "refuse", bugs.refuses_at_once),
        (*LOST, *OWNERS),
        "AG",
    ),
    Mutant(
        "asks are answered at once",
        bugs.patched(PendingRequests, "ask", bugs.answers_at_once),
        ("reader_lag", *OWNERS),
        "AG",
    ),
    Mutant(
        "asks bring no Progress",
        bugs.patched(PartitionProcessor, "_cover", bugs.only_late),
        (),
        "H",
    ),
    Mutant(
        "timeouts and leases fire with unread input",
        bugs.patched(Watermark, "has_read_to", lambda _self, _due_ms: True),
        ("reader_lag", "host_pause", "worker_late"),
        "T",
    ),
    Mutant(
        "timeouts fire after a stall before what came meanwhile is read",
        bugs.patched(Watermark, "has_read_to", lambda _self, _due_ms: True),
        ("worker_late",),
        "T",
        ("stalls",),
    ),
    Mutant(
        "what user code raises leaves its run",
        bugs.patched(coroutine, "blocked_by", lambda error, _type: error),
        (),
        "X",
        ("savages",),
    ),
    Mutant(
        "what code asks for is not weighed",
        lambda: bugs.together(
            bugs.patched(transition, "check_weights", lambda *_asked: ""),
            bugs.patched(transition, "CHECKS", ()),
        ),
        (),
        "X",
        ("savages",),
    ),
    Mutant("read_committed on events", bugs.committed, ("foreign_txn", "host_crash"), "H"),
    Mutant(
        "input position off by one",
        lambda: patch.object(bugs.assign_of(), "assign", bugs.one_too_far),
        OWNERS,
        "AFH",
    ),
    Mutant(
        "timers are not restored", bugs.patched(TimerQueue, "load", bugs.forget_alarms), OWNERS, "H"
    ),
    Mutant(
        "a report of any attempt will do",
        bugs.patched(attempts, "_attempt", bugs.any_attempt),
        ("worker_late", "worker_double", "worker_crash"),
        "DFHX",
    ),
    Mutant(
        "claims are not counted",
        bugs.command_row("ClaimActivity", bugs.claims_uncounted),
        ("zombie", "worker_pause", "worker_crash", "rebalance"),
        "DF",
    ),
    Mutant("timers fire early", bugs.apply_row("TimerStarted", bugs.timer_early), (), "T"),
    Mutant(
        "retries come early", bugs.apply_row("ActivityRetryScheduled", bugs.retry_early), (), "T"
    ),
    Mutant(
        "the run that is wanted may be evicted",
        bugs.patched(RunMemory, "_may_leave", bugs.evict_any),
        ("small_cache", "slow_append"),
        "ABCDEFGHRTX",
    ),
    Mutant(
        "a run found by its id is given an actor of its own",
        bugs.patched(RunCache, "find", bugs.own_actor),
        ("small_cache", "slow_append"),
        "EG",
        ("following", "operators"),
    ),
    Mutant(
        "a worker lets a task go when it starts",
        bugs.patched(SimWorker, "_start", bugs.released_on_send),
        ("worker_crash",),
        "H",
    ),
    Mutant(
        "a worker runs before the grant",
        bugs.patched(SimWorker, "_take_task", bugs.runs_ungranted),
        ("zombie", "worker_pause", "worker_crash", "rebalance"),
        "F",
    ),
    Mutant(
        "a signal is lost between two runs",
        bugs.command_row("SignalWorkflow", message_bugs.lost_between_runs),
        (),
        "A",
    ),
    Mutant(
        "signals that wait are lost at take-over",
        bugs.patched(Recovery, "_apply_partition", message_bugs.buffer_lost),
        (*OWNERS, "table_loss"),
        "A",
    ),
    Mutant(
        "signals that waited reach two runs",
        bugs.patched(SignalBufferStore, "delivered", message_bugs.buffer_starts_twice),
        (),
        "A",
    ),
    Mutant(
        "an update is answered before it is accepted",
        bugs.patched(CommandDecider, "_decide_one", message_bugs.answered_before_acceptance),
        ("slow_append", *LOST, *OWNERS),
        "A",
    ),
    Mutant(
        "a start and the update that it brings are two records",
        bugs.patched(CommandDecider, "_begun_with_update", message_bugs.begun_apart),
        (),
        "A",
    ),
    Mutant(
        "a query is answered at once, whoever owns the partition",
        bugs.patched(Inbox, "_query", message_bugs.query_at_once),
        ("zombie", "host_pause", "rebalance", "slow_append", *LOST),
        "G",
    ),
    Mutant(
        "a schedule forgets what it has started when it goes on",
        bugs.patched(Scheduler, "_go_on", feature_bugs.forgets_what_runs),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a schedule forgets what waits when it goes on",
        bugs.patched(Scheduler, "_go_on", feature_bugs.forgets_what_waits),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a schedule takes times twice when it goes on",
        bugs.patched(Scheduler, "_go_on", feature_bugs.looks_again),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a child that was left to the next run reports to nobody",
        bugs.patched(child_reports, "_taken_over", feature_bugs.own_reports_only),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "an action that waited does not count against the limit",
        bugs.patched(Scheduler, "_start", feature_bugs.no_limit_for_what_waited),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a paused schedule takes what waits",
        bugs.patched(Scheduler, "_act", feature_bugs.takes_while_paused),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a schedule's actions overlap",
        bugs.patched(Scheduler, "_queue", feature_bugs.overlaps),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a schedule does not say what it skipped",
        bugs.patched(Scheduler, "_skip", feature_bugs.skips_unsaid),
        (),
        "S",
        ("schedules",),
    ),
    Mutant(
        "a local attempt whose host is lost is not counted",
        bugs.patched(locals_, "decide_local_lost", feature_bugs.lost_uncounted),
        OWNERS,
        "FL",
        ("locals",),
    ),
    Mutant(
        "a dead owner's local activities report",
        feature_bugs.the_dead_report,
        (*LOST, *OWNERS),
        "L",
        ("locals",),
    ),
    Mutant(
        "local attempts under way are forgotten at take-over",
        bugs.patched(LocalActivities, "recover", feature_bugs.never_lost),
        OWNERS,
        "H",
        ("locals",),
    ),
    Mutant(
        "local attempts are started twice",
        bugs.patched(LocalActivities, "act", feature_bugs.starts_twice),
        (),
        "L",
        ("locals",),
    ),
    Mutant(
        "a pause is lost at take-over",
        bugs.row_kind("activity", decode=feature_bugs.pause_not_kept),
        (*OWNERS, "small_cache"),
        "O",
        ("operators",),
    ),
    Mutant(
        "an operator's request is taken again",
        bugs.patched(Dedup, "answer_again", feature_bugs.acts_again),
        ("slow_append", *LOST, *OWNERS),
        "O",
        ("operators",),
    ),
    Mutant(
        "a parked activity is tried again by a timer",
        feature_bugs.parked_for_a_while,
        (),
        "O",
        ("operators",),
    ),
    Mutant(
        "an attempt is granted though it is paused",
        bugs.command_row("ClaimActivity", feature_bugs.grants_paused),
        ("zombie", "worker_pause", "rebalance"),
        "O",
        ("operators",),
    ),
    Mutant(
        "an attempt that stopped for a pause counts once that is over",
        bugs.apply_row("ActivityUnpaused", feature_bugs.stops_count),
        (),
        "O",
        ("operators",),
    ),
    Mutant(
        "other options count for the attempt under way",
        bugs.apply_row("ActivityOptionsUpdated", feature_bugs.under_way_too),
        (),
        "T",
        ("operators",),
    ),
    *KEEPS,
    *LIFE,
    *STOPS,
    *EAGER,
    *TIME,
)
"""All of them."""

NOT_THERE = {
    "seq takes part in acceptance": "no misfit ever arises, so nothing shows; tests/unit/test_fold",
    "effect id without epoch": "effects leave after acceptance, and pseq is dense over epochs",
    "position without topic id": "topics are not made anew in this world; tests/unit/test_fold",
    "an unknown body is skipped": "all hosts are of one release here; tests/unit/test_fold",
}
"""Bugs of the review's list that this world cannot show, and why."""
