"""Where user code stood: call sites and stacks as people read them, with no machine's own paths."""

from __future__ import annotations

import asyncio
import itertools
import linecache
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, CoroutineType, FrameType, TracebackType
from typing import Any

from perdure_schemas.bounds import cut

FRAMES_MAX = 64
CAUSES_MAX = 10
SAID_CHARS_MAX = 3_000
NOTES_MAX = 5
TASKS_MAX = 4
_OWN_PACKAGES = frozenset(
    {"perdure", "perdure_actors", "perdure_schemas", "perdure_topics", "perdure_views"}
)
_STANDARD_LIBRARY = sys.stdlib_module_names
_ASYNCIO_FOLDER = asyncio.__file__.removesuffix("__init__.py")

# By file name: the short path of a user's file, or None for ours and the standard library's.
_SHORT_PATHS: dict[str, str | None] = {}


def call_site(depth: int = 1) -> str:
    """The first user frame above the caller, as `path/file.py:LINE in function`.

    Empty when no user code called: a coroutine of asyncio's own runs as a task.
    """
    frame: FrameType | None = sys._getframe(depth)
    for _ in range(FRAMES_MAX):
        if frame is None:
            break
        name = frame.f_code.co_filename
        path = _SHORT_PATHS[name] if name in _SHORT_PATHS else _remember(frame)
        if path is not None:
            return f"{path}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        if id(frame.f_code) in _BOTTOM_IDS:
            break
        frame = frame.f_back
    return ""


# By identity, because a code object hashes all of its content.
_BOTTOM_IDS: set[int] = set()


def stop_at(code: CodeType) -> None:
    """Let no call site be found below a function: what called it is no workflow code."""
    _BOTTOM_IDS.add(id(code))


def _remember(frame: FrameType) -> str | None:
    path = _short_path(frame.f_code.co_filename, frame.f_globals)
    _SHORT_PATHS[frame.f_code.co_filename] = path
    return path


def _short_path(file_name: str, space: dict[str, Any]) -> str | None:
    spec = space.get("__spec__")
    module = str(spec.name if spec is not None else space.get("__name__", ""))
    top = module.partition(".")[0]
    if top in _OWN_PACKAGES or file_name.startswith((_ASYNCIO_FOLDER, "<frozen ")):
        return None
    if top in _STANDARD_LIBRARY and module != "__main__":
        return None
    return short_path(file_name, module)


def short_path(file_name: str, module: str) -> str:
    """A file's path from the root that its module is imported from, the same on every machine."""
    parts = file_name.replace("\\", "/").split("/")
    if module.endswith(".__main__"):
        module = module.removesuffix(".__main__") + ".x"
    depth = module.count(".") + 1
    if parts[-1] == "__init__.py":
        depth += 1
    return "/".join(parts[-depth:])


def task_stacks(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """The user frames of waiting tasks, the outermost first, the first few tasks of them."""
    blocks = []
    for task in itertools.islice(tasks, TASKS_MAX):
        lines = [f"Task {task.get_name()}:"]
        coro: Any = task.get_coro()
        while isinstance(coro, CoroutineType) and coro.cr_frame is not None:
            frame = coro.cr_frame
            path = _remember(frame)
            if path is not None:
                lines.append(
                    f'  File "{path}", line {frame.f_lineno}, in {frame.f_code.co_qualname}'
                )
            coro = coro.cr_await
        blocks.append("\n".join(lines[: FRAMES_MAX + 1]))
    return "\n\n".join(blocks)


def waiting_sites(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Where tasks wait in user code, the first few of them."""
    sites = []
    for task in itertools.islice(tasks, TASKS_MAX):
        coro: Any = task.get_coro()
        site = ""
        while isinstance(coro, CoroutineType) and coro.cr_frame is not None:
            frame = coro.cr_frame
            path = _remember(frame)
            if path is not None:
                site = f"{path}:{frame.f_lineno} in {frame.f_code.co_qualname}"
            coro = coro.cr_await
        if site:
            sites.append(site)
    return ", ".join(sites)


def task_site(loop: asyncio.AbstractEventLoop) -> str:
    """In which task a coroutine of asyncio's stands; empty outside tasks."""
    task = asyncio.current_task(loop)
    if task is None:
        return ""
    coro = task.get_coro()
    return f"{getattr(coro, '__qualname__', 'a coroutine')} in {task.get_name()}"


def user_stack(error: BaseException) -> str:
    """The traceback of an error with user frames only, causes first, a group's errors before it."""
    blocks = [_one_stack(link) for link in _chain(error)]
    return "\n\nwhich led to:\n\n".join(reversed(blocks))


def leaves_of(error: BaseException) -> list[BaseException]:
    """The errors in a group and in the groups in it, in their order; an error itself otherwise."""
    leaves, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting += reversed(one.exceptions)
        else:
            leaves.append(one)
    return leaves


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the nearest first; each once, and not too many."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < CAUSES_MAX:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        before = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if before is not None:
            waiting.insert(0, before)
        if isinstance(link, BaseExceptionGroup):
            waiting += leaves_of(link)[:CAUSES_MAX]


def _one_stack(error: BaseException) -> str:
    lines = [
        f'  File "{path}", line {line}, in {frame.f_code.co_qualname}\n'
        f"    {linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()}"
        for frame, line in _frames(error.__traceback__)
        if (path := _remember(frame)) is not None
    ]
    heading = "Traceback (most recent call last):\n" if lines else ""
    what = "\n".join([_said(error), *_notes(error)])
    return heading + "\n".join([*lines[-FRAMES_MAX:], what])


def _said(error: BaseException) -> str:
    """What the last line of a traceback says; not by traceback, which is slow with long texts."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        text = str(error)
    except Exception:
        text = "<its text failed>"
    return cut(f"{name}: {text}" if text else name, SAID_CHARS_MAX)


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [cut(str(note), SAID_CHARS_MAX) for note in list(notes)[:NOTES_MAX]]


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def last_user_line(error: BaseException) -> str:
    """Where in user code an error was raised, as a call site; empty when it was not."""
    found = ""
    for frame, line in _frames(error.__traceback__):
        path = _remember(frame)
        if path is not None:
            found = f"{path}:{line} in {frame.f_code.co_qualname}"
    return found
