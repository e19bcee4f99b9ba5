"""Signals, updates, queries and children flow while their hosts are killed; each counts once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from perdure.client import Client, RPCError, WorkflowHandle
from perdure_schemas.message_events import SignalBuffered, WorkflowSignaled, WorkflowUpdateAccepted
from tests.broker.processes import QUEUE, Crew, until
from tests.simulation.families import check_families

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
APP = "tests.broker.talks_app"
BOOKS = 4
HOUR = timedelta(hours=1)


class Speaker:
    """Says one thing after another to a run until told to stop; knows what was acknowledged."""

    def __init__(self, handle: WorkflowHandle[Any, Any]) -> None:
        self.handle = handle
        self.told: list[str] = []
        """What was said, and what the other side has acknowledged, in order."""
        self.unheard = 0
        """How often a query did not see what had been acknowledged before it was asked."""
        self.is_over = False

    async def speak(self) -> None:
        """Signals and updates by turns, each once; now and then a query."""
        number = 0
        while not self.is_over:
            number += 1
            entry = f"{self.handle.id}/{number}"
            if number % 4:
                await self.handle.signal("note", entry)
            else:
                await self.handle.execute_update("book", entry, id=entry)
            self.told.append(entry)
            if number % 5 == 0:
                heard = await self.handle.query("heard")
                self.unheard += not set(self.told) <= set(heard)


async def start_talking(crew: Crew, client: Client) -> list[Speaker]:
    """Runs that are told the first thing before they are started."""
    speakers = []
    for number in range(BOOKS):
        handle = client.get_workflow_handle(f"book-{number}", task_queue=QUEUE)
        speaker = Speaker(handle)
        await handle.signal("note", f"{handle.id}/early", buffer_for=HOUR)
        speaker.told.append(f"{handle.id}/early")
        speakers.append(speaker)
    for speaker in speakers:
        await client.start_workflow("Ledger", id=speaker.handle.id, task_queue=QUEUE)
    return speakers


async def test_nothing_that_was_acknowledged_is_lost_or_doubled_when_hosts_die(crew: Crew) -> None:
    first, second = crew.host("first", app=APP), crew.host("second", app=APP)
    async with crew.client() as client:
        speakers = await start_talking(crew, client)
        talks = [asyncio.create_task(speaker.speak()) for speaker in speakers]

        async def more(than: int) -> None:
            wanted = sum(len(speaker.told) for speaker in speakers) + than
            await until(
                lambda: sum(len(one.told) for one in speakers) >= wanted,
                f"{than} more things are said",
                timeout_s=40.0,
            )

        await more(60)
        first.kill()
        second.kill()
        crew.host("third", app=APP)
        await more(60)
        for speaker in speakers:
            speaker.is_over = True
        await asyncio.gather(*talks)
        for speaker in speakers:
            await speaker.handle.signal("close")
        results = await asyncio.gather(*(speaker.handle.result() for speaker in speakers))
        with pytest.raises(RPCError):
            await speakers[0].handle.signal("note", "late")

    for speaker, result in zip(speakers, results, strict=True):
        assert sorted(result["entries"]) == sorted(speaker.told), "each once, and none lost"
        assert result["entries"][0].endswith("/early")
        assert len(result["counted"]) == len({*result["counted"]})
        assert speaker.unheard == 0
    ledger = crew.check()
    assert check_families(ledger) == sum(len(result["counted"]) for result in results)
    facts = [type(fact.event) for run in ledger.runs.values() for fact in run.facts]
    assert facts.count(WorkflowSignaled) >= 60
    assert facts.count(WorkflowUpdateAccepted) >= 15
    kept = [event for entry in ledger.entries for event in entry.events]
    assert sum(isinstance(event, SignalBuffered) for event in kept) == BOOKS
