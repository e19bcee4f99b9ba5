"""What user code raised, whatever it is: said in words, and written as a failure. It always ends.

An exception is user code too: its text, its details and its converter may raise anything.
"""

from __future__ import annotations

import asyncio

from perdure_actors.replay.blocked import DeadlockError
from perdure_actors.replay.failures import SOURCE, failure_of, text_of
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Failure, FailureCause

CHARS_MAX = 2_000


def said_by(error: BaseException) -> str:
    """What an exception says; its kind, where it cannot say anything."""
    try:
        return text_of(error)
    except DeadlockError:
        raise
    except BaseException as problem:
        return f"{kind_of(error)}, whose text failed with {kind_of(problem)}"


def kind_of(error: BaseException) -> str:
    """The name of an exception's class."""
    # Not by the attribute: a metaclass may have its own way with that.
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def failure_of_any(error: BaseException, converter: PayloadConverter) -> Failure:
    """The failure record of an exception; a short one, where it cannot be written whole."""
    try:
        return failure_of(error, converter)
    except DeadlockError:
        raise
    except BaseException as problem:
        text = f"{said_by(error)} (it could not be written whole: {said_by(problem)})"
        clean = text[:CHARS_MAX].encode(errors="backslashreplace").decode()
        cause = FailureCause(message=clean, type=kind_of(error)[:CHARS_MAX], source=SOURCE)
        return Failure(chain=[cause])


def is_for_others(error: BaseException) -> bool:
    """Whether what came out of user code on an event loop is not that code's own affair.

    Ctrl-C is not, nor is a cancellation that somebody asked for, nor the end of a coroutine that
    is thrown away.
    """
    if not isinstance(error, asyncio.CancelledError | GeneratorExit):
        return isinstance(error, KeyboardInterrupt)
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True
    return task is None or bool(task.cancelling())
