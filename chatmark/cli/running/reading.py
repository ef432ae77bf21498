"""Reading input files to their end, and sessions that only read."""

import asyncio
import contextlib
import pathlib
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from chatmark import Conversation
from chatmark.cli.options.access import Target
from chatmark.cli.options.inputs import Inputs
from chatmark.cli.options.shared import ReadingOptions
from chatmark.cli.render import log
from chatmark.cli.render.progress import display_for, reading_reporters
from chatmark.cli.running.signals import call_on_signals, forget_signals, interrupted_status
from chatmark.jobs.grouping import Loaded, load
from chatmark.jobs.reports.progress import Counters, Meter, calling_at_intervals
from chatmark.jobs.sources.files import STANDARD_INPUT, ChangeFiles
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import read_users

if TYPE_CHECKING:
    from chatmark import MarkSession


def read_ids(path: str, column: str, format_: FileFormat | None = None) -> Iterator[str]:
    """Yield the ids of a file, or of standard input; the same may come often."""
    if path == STANDARD_INPUT:
        yield from read_users(sys.stdin.buffer, "<stdin>", format_, column)
    else:
        with pathlib.Path(path).open("rb") as stream:
            yield from read_users(stream, path, format_, column)


@contextlib.contextmanager
def checking(
    name: str, *, quiet: bool, share: Callable[[], float | None] = lambda: None
) -> Generator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show the progress of checking and grouping while the block runs; yield what to call."""
    try:
        with display_for(quiet=quiet) as display:
            yield reading_reporters(display, share)
    except KeyboardInterrupt:
        log.complain(f"interrupted while {name} was checked: nothing was sent")
        raise click.exceptions.Exit(interrupted_status()) from None


def read_to_end(
    paths: Sequence[str], inputs: Inputs, *, quiet: bool, stream: BinaryIO | None = None
) -> Loaded:
    """Read files of changes, or standard input, to their end."""
    file = inputs.files(paths)
    with contextlib.ExitStack() as stack:
        if stream is None:
            stream = open_stream(file, stack)
        rows = file.rows() if stream is None else file.read(stream)
        with checking(file.name, quiet=quiet, share=lambda: file.share) as (check, group):
            loaded = load(file.name, rows, max_errors=inputs.max_errors, sign=check, on_group=group)
        if not quiet:
            tell_notes(file)
        return loaded


def conversation_of(text: str) -> Conversation:
    """Return the conversation that an argument names: the id of a user, c2c_ID or group_ID."""
    # The forms of the SDKs in capitals are users' ids as well.
    if text.startswith(("c2c_", "group_")):
        return Conversation.parse(text)
    return Conversation.one_to_one(text)


def tell_notes(file: ChangeFiles) -> None:
    """Write what was left out of files that were read."""
    for note in file.notes.lines():
        log.write(f"{file.name}: {note}")


def open_stream(file: ChangeFiles, stack: contextlib.ExitStack) -> BinaryIO | None:
    """Open an input that can be read only once; return None for a file."""
    if not file.is_stream:
        return None
    if (path := file.files[0].path) == STANDARD_INPUT:
        # A thread that waits in the buffered reader would hold its lock when the process ends.
        raw = getattr(sys.stdin.buffer, "raw", None)
        return sys.stdin.buffer if raw is None else open(raw.fileno(), "rb", closefd=False)
    return stack.enter_context(open(path, "rb"))  # noqa: PTH123


T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. A signal cancels it, a second one ends it at once."""

    async def run() -> T:
        task = asyncio.current_task()

        def cancel() -> None:
            forget_signals()
            assert task is not None  # noqa: S101 - a coroutine runs in one.
            task.cancel()

        call_on_signals(cancel)
        try:
            return await coroutine
        finally:
            forget_signals()

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise click.Abort from None


@contextlib.asynccontextmanager
async def reading_session(
    target: Target,
    options: ReadingOptions,
    phase: str,
    things: str,
    total: int,
    done: Callable[[], int],
    **more: Any,
) -> AsyncGenerator["MarkSession"]:
    """Open a session, and show the progress of reading while the block runs."""
    with display_for(quiet=options.quiet) as display:
        async with target.session(priority="low", **options.calling.options, **more) as session:
            loop = asyncio.get_running_loop()
            meter = Meter(total, loop.time(), done=done(), things=things, phase=phase)

            def show() -> None:
                counters = Counters(done(), session.stats.calls)
                display.show(meter.at(loop.time(), counters))

            with calling_at_intervals(show, display.interval):
                yield session
