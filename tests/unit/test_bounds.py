"""Texts and failures that could not be written, or be too large, are written all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_schemas.avro import decode, encode, write
from perdure_schemas.bounds import LINKS_MAX, cut, fit_failure, utf8
from perdure_schemas.events import ActivityScheduled, WorkflowBlocked, WorkflowFailed
from perdure_schemas.fact_events import MemoUpserted
from perdure_schemas.payloads import Failure, FailureCause, Payload

HALF = "caf\udce9 \ud83d"
ESCAPED = r"caf\udce9 \ud83d"


def test_text_that_is_no_utf8_is_written_escaped_wherever_it_stands() -> None:
    cause = FailureCause(message=HALF, type=HALF, details=[Payload(encoding=HALF)])
    records = [
        WorkflowBlocked(cause="error", message=HALF, stack_trace="ü" * 10_000 + HALF),
        ActivityScheduled(activity_id=HALF, activity_type=HALF, task_queue=HALF),
        MemoUpserted(memo={HALF: Payload(metadata={HALF: b"1"})}),
        WorkflowFailed(failure=Failure(chain=[cause])),
    ]

    for record in records:
        held, data = write(record)
        assert encode(record) == data == encode(held)
        assert decode(data) == held
        assert ESCAPED in str(held).replace("\\\\", "\\")
        assert write(held)[0] is held


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_written_and_proper_text_is_left_alone(text: str) -> None:
    written = utf8(text)

    written.encode()
    try:
        text.encode()
    except UnicodeEncodeError:
        assert written != text
    else:
        assert written == text


@given(st.text(st.characters(codec=None), max_size=300), st.integers(0, 100))
def test_a_cut_text_says_how_much_is_gone(text: str, chars_max: int) -> None:
    found = cut(text, chars_max)

    found.encode()
    written = utf8(text)
    if len(written) <= chars_max:
        assert found == written
    else:
        left_out = len(written) - 2 * (chars_max // 2)
        assert f"... {left_out} characters left out ..." in found


@pytest.mark.parametrize(
    "cause",
    [
        FailureCause(message="boom", details=[Payload(data=b"x" * 2_000_000)]),
        FailureCause(message="boom", last_heartbeat_details=[Payload(data=b"x" * 2_000_000)]),
        FailureCause(message="boom", encoded=Payload(data=b"x" * 2_000_000)),
        FailureCause(message="boom", details=[Payload(metadata={"k": b"x" * 2_000_000})]),
        FailureCause(message="boom" + "ü" * 2_000_000),
        FailureCause(message="boom", stack_trace="\udce9" * 2_000_000),
        FailureCause(message="boom", type="T" * 2_000_000, identity="i" * 2_000_000),
    ],
    ids=["details", "heartbeat", "encoded", "metadata", "message", "stack", "names"],
)
@pytest.mark.parametrize("links", [1, 30])
def test_a_failure_is_made_to_fit(cause: FailureCause, links: int) -> None:
    fitted = fit_failure(Failure(chain=[cause] * links), 900_000)

    assert len(encode(WorkflowFailed(failure=fitted))) < 1_000_000
    assert len(fitted.chain) == min(links, LINKS_MAX)
    assert fitted.chain[0].message.startswith("boom")
    assert fit_failure(fitted, 1_000_000) is fitted


def test_a_failure_that_fits_is_left_alone() -> None:
    failure = Failure(chain=[FailureCause(message="boom", details=[Payload(data=b"x" * 800_000)])])

    assert fit_failure(failure, 900_000) is failure
