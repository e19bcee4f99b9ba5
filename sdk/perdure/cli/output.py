"""Output of commands: tables and colour on terminals, JSON for programs, errors."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

from perdure.exceptions import ActivityError, ApplicationError, FailureError
from perdure_schemas.payloads import Payload

if TYPE_CHECKING:
    from rich.progress import Progress

CAUSES_MAX: Final = 20
VALUE_CHARS_MAX: Final = 200
_COLOURS: Final = {
    "running": "blue",
    "completed": "green",
    "failed": "red",
    "canceled": "yellow",
    "terminated": "magenta",
    "timed_out": "red",
    "continued_as_new": "cyan",
    "blocked": "bold white on red",
}


# Escape sequences move the cursor, rename windows and paste keys; signs that turn the direction of
# writing show another text than there is.
_CONTROL: Final = "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]"
_UNSEEN: Final = re.compile(_CONTROL)
_IN_JSON: Final = re.compile(_CONTROL.replace("\\x00-\\x08\\x0b-\\x1f", ""))
_PICTURES: Final = 0x2400
"""Unicode's pictures of the control codes: one a code, in their order."""


class SafeConsole(Console):
    """A console on which nobody's text is a command to the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is printed, with the control codes of texts made visible; styles are not in them."""
        for segment in super().render(renderable, options):
            plain = segment.control is None and _UNSEEN.search(segment.text)
            yield segment._replace(text=visible(segment.text)) if plain else segment


def visible(text: str) -> str:
    """A text that does nothing to a terminal: line breaks and tabs stay, other codes are shown."""
    return _UNSEEN.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class SafeFormatter(logging.Formatter):
    """Log lines whose texts do nothing to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as it is shown."""
        return visible(super().format(record))


def echo(line: str = "", *, end: str = "\n") -> None:
    """A plain line of an answer: nothing in it is markup, or a command to the terminal."""
    print(visible(line), end=end)


def console() -> Console:
    """Where answers go. Made anew, because tests and pipes change standard output."""
    return SafeConsole(highlight=False, soft_wrap=False)


def error_console() -> Console:
    """Where notices and errors go."""
    return SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """A bar for long work, on standard error; nothing where that is no terminal."""
    # Late: no other command needs it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    out = error_console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )


def print_json(value: Any) -> None:
    """An answer for programs: one JSON value, on one line unless a terminal shows it."""
    indent = 2 if sys.stdout.isatty() else None
    line = json.dumps(value, default=_plain, ensure_ascii=False, indent=indent)
    # Codes below a space are escapes already; the others are commands to some terminals.
    print(_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return str(value)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None
) -> None:
    """An answer for people."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def coloured_status(status: str) -> str:
    """A status as markup."""
    name = status.lower()
    return f"[{_COLOURS.get(name, 'white')}]{name}[/]"


def text(value: str) -> str:
    """A user's text, which is no markup."""
    return escape(value)


def time_of(moment: datetime | None) -> str:
    """A time as people read it."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def time_of_ms(milliseconds: int) -> str:
    """A recorded time as people read it."""
    return time_of(datetime.fromtimestamp(milliseconds / 1000, tz=UTC)) if milliseconds else ""


def span(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def payload_value(payload: Payload | None) -> Any:
    """A payload as JSON can show it, whatever converter wrote it."""
    if payload is None or payload.encoding == "binary/null":
        return None
    if payload.encoding == "json/plain":
        try:
            return json.loads(payload.data)
        except ValueError:
            pass
    return {"encoding": payload.encoding, "bytes": len(payload.data)}


def short(value: Any, *, chars_max: int = VALUE_CHARS_MAX) -> str:
    """A value on one line."""
    line = value if isinstance(value, str) else json.dumps(value, default=_plain)
    return line if len(line) <= chars_max else f"{line[:chars_max]}..."


def failure_lines(error: BaseException) -> list[str]:
    """A failure and its causes, outermost first, a line each."""
    lines: list[str] = []
    link: BaseException | None = error
    while link is not None and len(lines) < CAUSES_MAX:
        lines.append(_failure_line(link))
        link = link.__cause__
    return lines


def _failure_line(error: BaseException) -> str:
    if isinstance(error, ApplicationError):
        return f"{error.type or 'ApplicationError'}: {error.message}"
    if isinstance(error, ActivityError):
        why = error.retry_state.name.lower() if error.retry_state else ""
        return f"activity {error.activity_type} failed ({why or 'no retry'}): {error.message}"
    said = error.message if isinstance(error, FailureError) else str(error)
    return f"{type(error).__name__}: {said}"


def print_error(error: Exception) -> int:
    """The last line of a command that went wrong; its exit status."""
    usage = getattr(error, "format_message", None)
    if usage is not None:
        # An error of the command line, from whichever click typer has brought along.
        if said := str(usage()):
            error_console().print(f"[red]usage:[/] {text(said)}")
        return int(getattr(error, "exit_code", 2))
    message = ": ".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])])
    known = isinstance(error, ValueError | TypeError | OSError | LookupError | ImportError)
    if not known and not type(error).__module__.startswith("perdure"):
        message = f"{type(error).__name__}: {message} (PERDURE_DEBUG=1 shows where)"
    out = error_console()
    out.print(f"[red]error:[/] {text(' '.join(message.split()))}")
    from perdure.client import WorkflowFailureError

    if isinstance(error, WorkflowFailureError):
        for depth, line in enumerate(failure_lines(error.cause)):
            out.print(f"  {'  ' * depth}{text(' '.join(line.split()))}", style="dim")
    return 1


def print_notice(message: str) -> None:
    """What the client tells a waiting user, on one line."""
    error_console().print(f"[yellow]![/] {text(message)}")
