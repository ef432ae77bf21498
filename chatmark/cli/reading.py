"""Reading files and servers, with the progress on standard error while it lasts."""

import asyncio
import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from typing import Any, BinaryIO, Self

import attrs
import click
import rich.progress
import rich.table
import rich.text

import chatmark
from chatmark import Conversation
from chatmark.cli import endings, terminal
from chatmark.cli.access import Calls, Target
from chatmark.cli.options import Names, json_option, option, quiet_option, read_pairs, refuse_usage
from chatmark.jobs import ChangeFiles, Columns, Dialect, FileFormat, Loaded, Progress, load
from chatmark.jobs.reports.progress import Counters, Meter, calling_at_intervals
from chatmark.jobs.sources.dialect import CLEAR_WORD
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import ROW_FORMATS
from chatmark.jobs.sources.users import read_users


def one_of(formats: Collection[FileFormat]) -> dict[str, Any]:
    def parsed(_: object, __: object, value: str | None) -> FileFormat | None:
        return None if value is None else FileFormat(value)

    return {"type": click.Choice([*(each.value for each in formats), "json"]), "callback": parsed}


_input = functools.partial(option, title="Input")


@attrs.frozen(kw_only=True, slots=False)
class Inputs(Names):
    format: FileFormat | None = option(
        "The format, if the file's name does not tell.", title="Input", **one_of(ROW_FORMATS)
    )
    map: Sequence[str] = _input(
        "The file's name for a field: to_account=peer_id. Repeatable.", (), "FIELD=COLUMN"
    )
    ignore_unknown: bool = _input("Ignore columns and keys that are not fields of a row.", False)
    delimiter: str | None = _input("What separates cells, such as ';', or tab.", metavar="CHAR")
    encoding: str | None = _input("Such as cp1252 or gb18030.  [default: utf-8]", metavar="NAME")
    null: Sequence[str] = _input(
        "A cell that means an absent field, such as NULL, or PostgreSQL's '\\N'. Repeatable.", ()
    )
    literal: bool = _input(
        "Take cells as they are: ids with commas or blanks at their edges, ids such as NULL or "
        f"1.0E+05, and {CLEAR_WORD}, which clears a custom mark otherwise.",
        False,
    )
    max_errors: int = _input("The most rows that cannot be applied, to set aside.", 0, "N")

    def files(self, paths: Sequence[str]) -> ChangeFiles:
        if STANDARD_INPUT in paths and len(paths) > 1:
            refuse_usage("standard input (-) must be the only input")
        for path in paths:
            if path.lower().startswith(("http://", "https://")):
                refuse_usage(f"{path} is not read from the web: curl -fsS URL | chatmark apply -")
        mapped = read_pairs("--map", "FIELD=COLUMN", self.map)
        columns = Columns(mapped, ignore_unknown=self.ignore_unknown)
        dialect = Dialect(self.delimiter, self.encoding, self.null, self.literal)
        return ChangeFiles.of(paths, self.format, self.names, columns, dialect)


@attrs.frozen(kw_only=True)
class Reading(Calls):
    quiet: bool = quiet_option("Print nothing but results and errors.")


@attrs.frozen(kw_only=True)
class Comparing(Reading, Inputs):
    as_json: bool = json_option("Print the result as JSON.")


class Display(contextlib.AbstractContextManager["Display"]):
    """Progress on standard error: a bar that moves on a terminal, elsewhere a line at intervals."""

    def __init__(self, *, quiet: bool) -> None:
        console = terminal.Console(sys.stderr)
        self.interval = 5.0
        self._is_quiet = quiet
        self._last = time.monotonic()
        self._bar: rich.progress.Progress | None = None
        if console.is_terminal and not (quiet or terminal.LOG.as_json or console.is_dumb_terminal):
            self.interval = 0.1
            cut = rich.table.Column(no_wrap=True, overflow="ellipsis")
            self._bar = rich.progress.Progress(
                "{task.fields[head]}",
                rich.progress.BarColumn(10),
                rich.progress.TextColumn("{task.description}", markup=False, table_column=cut),
                console=console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=None, head="")

    def __enter__(self) -> Self:
        if (bar := self._bar) is not None:
            bar.start()
            terminal.LOG.above = lambda line: bar.console.print(
                rich.text.Text.from_ansi(line), soft_wrap=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        terminal.LOG.above = None
        if self._bar is not None:
            self._bar.stop()

    @property
    def is_due(self) -> bool:
        return not self._is_quiet and time.monotonic() - self._last >= self.interval

    def show(self, progress: Progress) -> None:
        """Show the progress of a job if it is due."""
        terminal.LOG.phase = progress.phase
        if not self.is_due:
            return
        self._last = time.monotonic()
        if self._bar is None:
            terminal.log(
                "; ".join(filter(None, (progress.line, progress.troubles))),
                done=progress.counters.done,
                total=progress.total,
                per_second=round(progress.rate, 1),
                calls=progress.counters.calls,
            )
            return
        below = ", ".join(filter(None, (progress.effort, progress.troubles)))
        self._bar.update(
            self._task,
            description=f"{progress.work}\n{below}".rstrip(),
            head=progress.head,
            total=None if progress.fraction is None else 1.0,
            completed=progress.fraction or 0.0,
        )
        self._bar.refresh()


@contextlib.contextmanager
def checking(
    name: str, *, quiet: bool, share: Callable[[], float | None] = lambda: None
) -> Generator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show the progress of checking and grouping while the block runs; yield what to call."""
    meter = Meter(None, time.monotonic(), things="rows", phase="check")

    def checked(rows: int) -> None:
        progress = meter.at(time.monotonic(), Counters(rows))
        # The share costs a look at each file.
        display.show(attrs.evolve(progress, share=share()) if display.is_due else progress)

    def grouped(changes: int) -> None:
        display.show(Progress(Counters(), changes, 0.0, 0.0, phase="group"))

    try:
        with Display(quiet=quiet) as display:
            yield checked, grouped
    except KeyboardInterrupt:
        terminal.complain(f"interrupted while {name} was checked: nothing was sent")
        raise click.exceptions.Exit(endings.interrupted_status()) from None


def read_to_end(
    paths: Sequence[str], inputs: Inputs, *, quiet: bool, stream: BinaryIO | None = None
) -> Loaded:
    file = inputs.files(paths)
    with contextlib.ExitStack() as stack:
        stream = stream or open_stream(file, stack)
        rows = file.rows() if stream is None else file.read(stream)
        with checking(file.name, quiet=quiet, share=lambda: file.share) as (check, group):
            loaded = load(file.name, rows, max_errors=inputs.max_errors, sign=check, on_group=group)
        if not quiet:
            tell_notes(file)
        return loaded


def tell_notes(file: ChangeFiles) -> None:
    for note in file.notes.lines():
        terminal.log(f"{file.name}: {note}")


def open_stream(file: ChangeFiles, stack: contextlib.ExitStack) -> BinaryIO | None:
    """Open an input that can be read only once; return None for a file."""
    if not file.is_stream:
        return None
    if (path := file.files[0].path) == STANDARD_INPUT:
        # A thread that waits in the buffered reader would hold its lock when the process ends.
        raw = getattr(sys.stdin.buffer, "raw", None)
        return sys.stdin.buffer if raw is None else open(raw.fileno(), "rb", closefd=False)
    return stack.enter_context(open(path, "rb"))  # noqa: PTH123


def read_ids(path: str, column: str, format_: FileFormat | None = None) -> Iterator[str]:
    if path == STANDARD_INPUT:
        yield from read_users(sys.stdin.buffer, "<stdin>", format_, column)
    else:
        with pathlib.Path(path).open("rb") as stream:
            yield from read_users(stream, path, format_, column)


def conversation_of(text: str) -> Conversation:
    # The forms of the SDKs in capitals are users' ids as well.
    is_typed = text.startswith(("c2c_", "group_"))
    return Conversation.parse(text) if is_typed else Conversation.one_to_one(text)


@contextlib.asynccontextmanager
async def reading_session(
    target: Target,
    total: int,
    done: Callable[[], int],
    *,
    quiet: bool,
    phase: str = "read",
    things: str = "users",
    **more: Any,
) -> AsyncGenerator["chatmark.MarkSession"]:
    """Open a session that reads, and show its progress."""
    with Display(quiet=quiet) as display:
        async with target.session("low", **more) as session:
            now = asyncio.get_running_loop().time
            meter = Meter(total, now(), done=done(), things=things, phase=phase)

            def show() -> None:
                display.show(meter.at(now(), Counters(done(), session.stats.calls)))

            with calling_at_intervals(show, min(display.interval, 1.0)):
                yield session
