"""Reading files and servers, with the progress on standard error while it lasts."""

import asyncio
import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from typing import Any, BinaryIO, Self, TypeVar

import attrs
import click
import rich.progress
import rich.table
import rich.text

import chatmark
from chatmark import Conversation, InputError, MarkNames
from chatmark.cli import endings, terminal
from chatmark.cli.access import CALLING, SERVER, Access, Calling, Target
from chatmark.cli.options import NAME_OPTIONS, group, option, options_of, read_names, read_pairs
from chatmark.jobs import ChangeFiles, Columns, Dialect, FileFormat, Loaded, Progress, load
from chatmark.jobs.reports.progress import Counters, Meter, calling_at_intervals
from chatmark.jobs.sources.dialect import CLEAR_WORD
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import ROW_FORMATS
from chatmark.jobs.sources.users import read_users

T = TypeVar("T")


def one_of(formats: Collection[FileFormat]) -> dict[str, Any]:
    def parsed(_: object, __: object, value: str | None) -> FileFormat | None:
        return None if value is None else FileFormat(value)

    return {"type": click.Choice([*(each.value for each in formats), "json"]), "callback": parsed}


_input = functools.partial(option, title="Input")


@attrs.frozen
class Inputs:
    names: MarkNames
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
        mapped = read_pairs("--map", "FIELD=COLUMN", self.map)
        try:
            columns = Columns(mapped, ignore_unknown=self.ignore_unknown)
        except InputError as error:
            raise click.UsageError(f"--map: {error}") from None
        try:
            dialect = Dialect(self.delimiter, self.encoding, self.null, self.literal)
        except InputError as error:
            raise click.UsageError(f"--{error}") from None
        return ChangeFiles.of(paths, self.format, self.names, columns, dialect)


def _inputs(names: Sequence[str], names_file: str | None, **values: Any) -> Inputs:
    return Inputs(read_names(names, names_file), **values)


INPUTS: Any = group(_inputs, *options_of(Inputs), *NAME_OPTIONS)


@attrs.frozen(kw_only=True)
class ReadingOptions:
    access: Access = SERVER
    calling: Calling = CALLING
    quiet: bool = option("Print nothing but results and errors.", False, names=["-q", "--quiet"])


@attrs.frozen(kw_only=True)
class ComparingOptions(ReadingOptions):
    inputs: Inputs = INPUTS
    as_json: bool = option("Print the result as JSON.", False, names=["--json"])


class Display(contextlib.AbstractContextManager["Display"]):
    """Progress on standard error: a bar that moves on a terminal, elsewhere a line at intervals."""

    def __init__(self, *, quiet: bool) -> None:
        console = terminal.Console(sys.stderr)
        self.interval = 3600.0 if quiet else 5.0
        self._is_quiet = quiet
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

    def show(self, progress: Progress) -> None:
        terminal.LOG.phase = progress.phase
        if self._is_quiet:
            return
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

    def at_intervals(self, progress_of: Callable[[T], Progress]) -> Callable[[T], None]:
        """Return a function that shows the progress that some news mean, when it is time."""
        last = time.monotonic()

        def report(news: T) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= self.interval:
                last = now
                self.show(progress_of(news))

        return report


@contextlib.contextmanager
def checking(
    name: str, *, quiet: bool, share: Callable[[], float | None] = lambda: None
) -> Generator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show the progress of checking and grouping while the block runs; yield what to call."""
    meter = Meter(None, time.monotonic(), things="rows", phase="check")

    def checked(rows: int) -> Progress:
        return attrs.evolve(meter.at(time.monotonic(), Counters(rows)), share=share())

    def grouped(changes: int) -> Progress:
        return Progress(Counters(), changes, 0.0, 0.0, phase="group")

    try:
        with Display(quiet=quiet) as display:
            yield display.at_intervals(checked), display.at_intervals(grouped)
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
    options: ReadingOptions,
    total: int,
    done: Callable[[], int],
    *,
    phase: str = "read",
    things: str = "users",
    **more: Any,
) -> AsyncGenerator["chatmark.MarkSession"]:
    with Display(quiet=options.quiet) as display:
        async with target.session(
            priority="low", **attrs.asdict(options.calling), **more
        ) as session:
            now = asyncio.get_running_loop().time
            meter = Meter(total, now(), done=done(), things=things, phase=phase)

            def show() -> None:
                display.show(meter.at(now(), Counters(done(), session.stats.calls)))

            with calling_at_intervals(show, display.interval):
                yield session
