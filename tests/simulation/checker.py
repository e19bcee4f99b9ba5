"""The checker: reads a log and what clients and workers wrote down, and says what is wrong.

It takes plain records, so that a dump of a real log is checked just as a simulated one is. It
folds the log by itself and imports nothing that decides or accepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.simulation.acts import ActCheck
from tests.simulation.answers import AnswerCheck, Op, read_commands
from tests.simulation.evidence import Effect, Evidence, WasAlive, nobody_knows
from tests.simulation.families import check_families
from tests.simulation.following import check_following
from tests.simulation.histories import Expected, check_journal, check_runs
from tests.simulation.keys import KeyCheck, unfinished
from tests.simulation.ledger import Ledger, RunLog, Stored, Violation, read_ledger
from tests.simulation.messages import MessageCheck
from tests.simulation.schedules import ScheduleCheck

__all__ = ["Effect", "Expected", "Ledger", "Op", "RunLog", "Violation", "check", "ledger_of"]

ROLES = {
    ".commands": "commands",
    ".events": "events",
    ".tasks": "tasks",
    ".commands.dead": "dead",
    ".replies": "replies",
}


def _by_role(records_by_topic: Mapping[str, Iterable[Stored]]) -> dict[str, list[Stored]]:
    """The records of one task queue by what their topic is for."""
    found: dict[str, list[Stored]] = {role: [] for role in ROLES.values()}
    for topic, records in records_by_topic.items():
        for ending in sorted(ROLES, key=len, reverse=True):
            if topic.endswith(ending):
                found[ROLES[ending]] += records
                break
    return found


def ledger_of(
    records_by_topic: Mapping[str, Iterable[Stored]], *, engine_key: bytes = b""
) -> Ledger:
    """What counts in the events topic of a dump."""
    return read_ledger(_by_role(records_by_topic)["events"], engine_key=engine_key)


def check(
    records_by_topic: Mapping[str, Iterable[Stored]],
    ops: Sequence[Op] = (),
    effects: Sequence[Effect] = (),
    *,
    models: Mapping[str, Expected] | None = None,
    healed: bool = True,
    engine_key: bytes = b"",
    clock_slack_ms: int = 5_000,
    healed_ms: int | None = None,
    was_alive: WasAlive = nobody_knows,
) -> list[Violation]:
    """Check invariants A to H, K, L, N, O, P, S and T over the topics of one task queue.

    healed: the log comes from a world that was left to heal, so everything must have ended.
    healed_ms: since when nothing went wrong, by the log's clock; None where that is not known.
    clock_slack_ms: how far clocks may be apart; what is closer than that is not judged.
    """
    roles = _by_role(records_by_topic)
    ledger = read_ledger(roles["events"], engine_key=engine_key)
    reports, poison = read_commands(roles["commands"])
    evidence = Evidence(
        effects,
        reports,
        engine_key=engine_key,
        clock_slack_ms=clock_slack_ms,
        was_alive=was_alive,
    )
    check_runs(ledger, evidence, models or {})
    check_journal(ledger, effects)
    check_following(ledger)
    answers = AnswerCheck(ledger, reports)
    answers.check_outcomes(poison)
    answers.check_reports()
    answers.check_replies(roles["replies"])
    answers.check_tasks(roles["tasks"])
    messages = MessageCheck(ledger, reports)
    messages.check_taken_once()
    messages.check_answers(ops)
    acts = ActCheck(ledger, reports)
    acts.check_once()
    acts.check_refusals()
    acts.check_shown(ops)
    schedules = ScheduleCheck(ledger, roles["commands"])
    schedules.check_all(healed_ms=healed_ms)
    schedules.check_answers(ops)
    keys = KeyCheck(ledger, others=acts.requests)
    keys.check_ids()
    keys.check_refusals()
    keys.check_order(ops)
    if healed:
        check_families(ledger)
        answers.check_dead(roles["dead"])
        for text in unfinished(ledger):
            ledger.fail("H", text)
        _check_heard(ledger, ops)
    return ledger.violations


def _check_heard(ledger: Ledger, ops: Sequence[Op]) -> None:
    """H: whoever asked on was answered in the end."""
    for op in ops:
        if op.answer is None:
            ledger.fail("H", f"{op.kind} of {op.workflow_id} was never answered")
