"""What texts and failures may weigh where they are written: escaped, cut, and said so.

Whatever a text came from, a file name that is no UTF-8 or an error that quotes a whole document,
what is made of it here can be written, and leaves room for what else is in its record.
"""

from __future__ import annotations

from msgspec.structs import replace

from perdure_schemas.payloads import Failure, FailureCause, Payload

MESSAGE_CHARS_MAX = 16 * 1024
STACK_CHARS_MAX = 32 * 1024
CHAIN_CHARS_MAX = 128 * 1024
"""The texts of a failure and its causes, together."""
NAME_CHARS_MAX = 1_000
LINKS_MAX = 20
_NAMES = (
    "kind",
    "source",
    "type",
    "category",
    "timeout_type",
    "activity_type",
    "activity_id",
    "identity",
    "retry_state",
    "workflow_type",
    "workflow_id",
    "run_id",
)


def utf8(text: str) -> str:
    """A text as records can hold it: what is no UTF-8, half a character, is written escaped."""
    try:
        if text.isascii():
            return text
    except AttributeError:
        raise TypeError(f"a {type(text).__name__} stands where a text should") from None
    return text.encode(errors="backslashreplace").decode()


def cut(text: str, chars_max: int) -> str:
    """A text of at most about so many characters, its middle left out, escaped as `utf8` does."""
    text = utf8(text)
    if len(text) <= chars_max:
        return text
    half = chars_max // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... {left_out} characters left out ...\n{text[len(text) - half :]}"


def fit_failure(failure: Failure, bytes_max: int) -> Failure:
    """A failure that takes at most about so many bytes; the very same one when it does already.

    What hangs on its causes goes first, then their texts are cut; what went is said.
    """
    chain = failure.chain
    if len(chain) <= LINKS_MAX and sum(map(_bytes_of, chain)) <= bytes_max:
        return failure
    chars = max(200, bytes_max // 8 // min(len(chain), LINKS_MAX))
    return Failure(chain=[_bare(cause, chars) for cause in chain[:LINKS_MAX]])


def _bare(cause: FailureCause, chars_max: int) -> FailureCause:
    """A cause without what hangs on it."""
    dropped = _payloads_of(cause)
    size = sum(len(payload.data) for payload in dropped)
    note = f" (its details, {size} bytes, were too large and are dropped)"
    names = {name: cut(getattr(cause, name), min(NAME_CHARS_MAX, chars_max)) for name in _NAMES}
    return replace(
        cause,
        **names,
        message=cut(cause.message, min(MESSAGE_CHARS_MAX, chars_max)) + (note if dropped else ""),
        stack_trace=cut(cause.stack_trace, min(STACK_CHARS_MAX, chars_max)),
        details=[],
        last_heartbeat_details=[],
        encoded=None,
    )


def _payloads_of(cause: FailureCause) -> list[Payload]:
    encoded = [] if cause.encoded is None else [cause.encoded]
    return [*cause.details, *cause.last_heartbeat_details, *encoded]


def _bytes_of(cause: FailureCause) -> int:
    texts = _text_bytes(cause.message) + _text_bytes(cause.stack_trace)
    texts += sum(_text_bytes(getattr(cause, name)) for name in _NAMES)
    return texts + sum(map(_payload_bytes, _payloads_of(cause)))


def _payload_bytes(payload: Payload) -> int:
    metadata = sum(_text_bytes(key) + len(value) for key, value in payload.metadata.items())
    return len(payload.data) + _text_bytes(payload.encoding) + metadata + 16


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="backslashreplace"))
