"""Results on standard output, messages on standard error; control characters are escaped."""

import contextlib
import datetime as dt
import functools
import io
import itertools
import json
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TextIO, final

import attrs
import click
import rich.console
from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from chatmark.jobs.counting import SCHEMA, agree

#: A command to copy follows these words.
TO_CONTINUE: Final = "to continue: "
# The text behind a count begins there.
_INDENT: Final = 12
_COLUMN_GAP: Final = 3


def prepare_streams() -> None:
    # Something takes the place of a closed stream, so that no file of a job does.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def describe(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def clean(text: str) -> str:
    """Return text with the characters that could command a terminal written as escapes."""
    # The joiner makes one emoji of several characters.
    return "".join(
        each if each.isprintable() or each == "\u200d" else each.encode("unicode_escape").decode()
        for each in text
    )


def print_json(document: dict[str, Any], *, indent: int | None = 2, err: bool = False) -> None:
    click.echo(json.dumps({"schema": SCHEMA} | document, indent=indent), err=err)


def tell(document: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo("\n".join(map(clean, lines)))


class Console(rich.console.Console):
    """A console on a stream; without a terminal its lines are never wrapped."""

    def __init__(self, file: TextIO) -> None:
        # A terminal that does not know its width says 0.
        unknown = {name for name in ("COLUMNS", "LINES") if not os.environ.get(name, "").strip("0")}
        environment = {name: text for name, text in os.environ.items() if name not in unknown}
        width = None if file.isatty() else 100_000
        super().__init__(file=file, width=width, highlight=False, _environ=environment)

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich caught it, and would make it the exit status 1.

    def say(self, text: str, style: str = "") -> None:
        """Write a line; a terminal that is too narrow gets several, broken between words."""
        self.print(Text(_broken(clean(text), self.width), style=style), soft_wrap=True)

    def say_below(self, text: str) -> None:
        """Write a line below the text of a count."""
        self.say(" " * _INDENT + text)

    def say_counts(self, *rows: tuple[int, str, str]) -> None:
        """Write a line for each count above 0: the number, its text (see `agree`), its style."""
        for count, text, style in rows:
            if count:
                self.say(f"  {count:>9,} {agree(count, text)}", style)

    def say_errors(self, errors: Mapping[str, object], most: int) -> None:
        for account, error in itertools.islice(errors.items(), most):
            self.say_below(f"{account}: {error}")

    def print_table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        numbers: Collection[str] = (),
    ) -> None:
        """Print a table; columns named in *numbers* are aligned to the right."""
        cells = [list(map(clean, row)) for row in rows]
        if title:
            self.say(title, "bold")
        if not self.is_terminal:
            for line in (columns, *cells):
                # Tabs for other programs; rich would make blanks of them.
                click.echo("\t".join(line), file=self.file)
            return
        lists = [*zip(columns, *cells, strict=True)]
        widths = [max(map(cell_len, texts)) for texts in lists]
        while sum(widths) + _COLUMN_GAP * len(columns) > self.width:
            widths[widths.index(max(widths))] -= 1
        words = [max(map(cell_len, " ".join(texts).split()), default=0) for texts in lists]
        # Cells have several lines where words fit, or else each row is a block of lines.
        if min(map(int.__sub__, widths, words)) < 0:
            for row in cells:
                named = zip(columns, row, strict=True)
                lines = [f"  {column}: {cell}" for column, cell in named if cell]
                self.print(*map(Text, lines), "", sep="\n", soft_wrap=True)
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, width=width, justify="right" if column in numbers else "left")
        for row in cells:
            table.add_row(*map(Text, row))
        self.print(table)


def _broken(text: str, width: int) -> str:
    indent = " " * (_INDENT if text.startswith(" ") else 2)
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def first_of(names: Sequence[str], total: int, most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if total > most else "")


@final
@attrs.define
class _Log:
    """How lines are written on standard error in this process, and what they are about."""

    as_json: bool = False
    verbosity: int = 0
    target: str = ""
    phase: str = ""
    # Writes a line above a bar that moves.
    above: Callable[[str], object] | None = None


LOG: Final = _Log()


def reset_log() -> None:
    LOG.__init__()
    logger = logging.getLogger("chatmark")
    logger.setLevel(logging.NOTSET)
    logger.handlers = [each for each in logger.handlers if not isinstance(each, _LibraryLog)]
    logger.addHandler(_LibraryLog())


def set_log_format(_: object, __: object, name: str | None) -> None:
    LOG.as_json = LOG.as_json if name is None else name == "json"


def set_verbosity(_: object, __: object, count: int) -> None:
    LOG.verbosity = max(LOG.verbosity, count)
    if count:
        level = logging.INFO if count == 1 else logging.DEBUG
        logging.getLogger("chatmark").setLevel(level)


def log(message: str, level: str = "info", **fields: Any) -> None:
    """Write a line; a standard error that is closed or full costs only the line."""
    if LOG.as_json:
        time = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        about = {"time": time, "level": level, "phase": LOG.phase, "target": LOG.target}
        line = json.dumps(about | {"message": message} | fields)
    else:
        colour = {"error": "red", "warning": "yellow"}.get(level)
        line, console = clean(message), Console(sys.stderr)
        if console.is_terminal:
            # A command to copy is a line of its own, whole.
            text, sign, command = line.partition(TO_CONTINUE)
            line = _broken(text + sign.rstrip(), console.width - len("warning: "))
            line += f"\n{command}" if command else ""
        if colour is not None:
            line = f"{click.style(f'{level}:', fg=colour, bold=True)} {line}"
    with contextlib.suppress(OSError, ValueError):
        if LOG.above is None:
            click.echo(line, err=True)
        else:
            LOG.above(line)


complain = functools.partial(log, level="error")
warn = functools.partial(log, level="warning")


@final
class _LibraryLog(logging.Handler):
    """Writes warnings; with -v also errors, whose words end the command, and the rest."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING or LOG.verbosity:
            level = "info" if record.levelno <= logging.INFO else record.levelname.lower()
            log(record.getMessage(), level, logger=record.name)
