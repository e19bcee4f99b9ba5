"""`python -m tests.fuzz.guided SECONDS`: atheris chooses bytes for the decoders by what they reach.

It needs `pip install atheris`, which there is for Linux. What reached something new is kept in
.cache/fuzz, and the next time it is where this begins.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

INSTRUMENTED = [
    *(
        "perdure_schemas",
        "perdure_topics.wire.frames",
        "perdure_topics.fold",
        "perdure_topics.names",
    ),
    *("perdure_actors.visibility", "perdure_actors.core.cron", "perdure_actors.worker.task_checks"),
    "perdure_views.gateway.admission",
]
"""Where new ways are looked for: all of our code would take minutes to make ready."""

with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.fuzz.decoders import DECODERS, try_one
    from tests.fuzz.mutations import corpus
    from tests.fuzz.seeds import SEEDS


def take(data: bytes) -> None:
    """The first byte says which decoder, the rest is for it."""
    problem = try_one(DECODERS[data[0] % len(DECODERS)], data[1:]) if data else ""
    if problem:
        raise AssertionError(problem)


def main(seconds: int) -> None:
    """Look for so long."""
    logging.disable(logging.CRITICAL)
    folder = Path(".cache/fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    for place, decoder in enumerate(DECODERS):
        for number, data in enumerate(SEEDS.get(decoder.name, corpus())):
            (folder / f"seed-{place}-{number}").write_bytes(bytes([place]) + data)
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=5"]
    atheris.Setup([sys.argv[0], *limits, str(folder)], take)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
