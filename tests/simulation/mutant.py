"""What a planted bug is: where it goes, which faults bring it out, and what may catch it."""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation import bugs


class Mutant(NamedTuple):
    """A bug, the faults that bring it out, and the invariants that may catch it."""

    name: str
    plant: bugs.Plant
    faults: tuple[str, ...]
    letters: str
    features: tuple[str, ...] = ()
    """What the world must have, so that the bug can show."""


LOST = ("ack_lost", "never_written", "late_written", "queue_timeout")
OWNERS = ("host_crash", "host_pause", "rebalance", "zombie")
