"""The walk over blocked runs: every one that time may mend is tried again, however many wait."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from perdure_actors import table_layout
from perdure_actors.partition.timer_service import RESUMED_A_TURN, SLOW_RETRY_MS, TimerService
from perdure_schemas.events import WorkflowBlocked
from perdure_topics.tables.memory_tables import MemoryTableStore

RUNS = 5 * RESUMED_A_TURN


class _World:
    """Runs of which every seventh is blocked by something that time may mend."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.mono_ms = 0
        self.liveness = SimpleNamespace(
            lost_workers=lambda _now: (),
            drop_expired=lambda _now: None,
            turned=lambda _now: None,
        )

    def run(self, run_id: str) -> Any:
        cause = "codec" if int(run_id) % 7 == 0 else "nondeterminism"
        state = SimpleNamespace(run_id=run_id, block=WorkflowBlocked(cause=cause))
        return SimpleNamespace(state=state)


def test_every_blocked_run_that_time_may_mend_is_tried_again_each_time() -> None:
    table = MemoryTableStore().open("t")
    table.write([(table_layout.blocked_key(f"{number:04}"), b"") for number in range(RUNS)], [])
    tried: list[str] = []
    nothing: Any = SimpleNamespace()
    run_cache: Any = SimpleNamespace(find=tried.append)
    world: Any = _World()
    firing = TimerService(
        nothing,
        0,
        table,
        world=world,
        run_cache=run_cache,
        executor=nothing,
        transitions=nothing,
        queue=nothing,
        watermark=nothing,
        doubt=nothing,
        fence=nothing,
        counters=Counter(),
    )

    for number in range(1, 4):
        firing.keep_house(number * SLOW_RETRY_MS - 1)
        firing.resume()
        assert len(tried) == (number - 1) * len(range(0, RUNS, 7)), "not before its time"
        firing.keep_house(number * SLOW_RETRY_MS)
        turns = 0
        while firing.is_busy:
            firing.resume()
            firing.keep_house(number * SLOW_RETRY_MS)
            turns += 1
        assert turns <= RUNS // RESUMED_A_TURN + 2, "a turn looks at some, not at one"

    once = [f"{number:04}" for number in range(0, RUNS, 7)]
    assert tried == once * 3
