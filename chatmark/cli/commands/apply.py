"""`chatmark apply` and `chatmark mark`: send changes of files, or of the command line."""

import contextlib
import functools
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence

import attrs
import click

from chatmark import Conversation, ConversationMark, InputError, MarkChange, MarkNames, ray
from chatmark.cli import endings, reading
from chatmark.cli.access import Target
from chatmark.cli.options import command, option, refuse_given, refuse_usage
from chatmark.cli.sending import Sending, Sent, deliver, print_dry_run, send_and_report
from chatmark.jobs import Control, Loaded, load
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.page import load_template
from chatmark.jobs.sending.feeds import ChangeStream
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.row import Row
from chatmark.ray.options import LOCAL, stay_on_loopback

_ray = functools.partial(option, title="Ray cluster")
_side = functools.partial(option, title="Conversations")
_sides = functools.partial(_side, default=())
_change = functools.partial(option, title="Change")
_marks = functools.partial(_change, default=(), metavar="MARK")


@attrs.frozen(kw_only=True)
class _ApplyOptions(Sending, reading.Inputs):
    ray: str | None = _ray(
        "Send from a Ray cluster: auto joins that of this machine, local starts one.",
        metavar="auto|local|HOST:PORT",
    )
    ray_partitions: int | None = _ray(
        "Parts of the changes, by user.  [default: 256]", None, "N", type=click.IntRange(min=1)
    )


@command(
    _ApplyOptions,
    """
    Apply the changes in FILE: JSON, CSV or TSV with a header, or Parquet; - is standard input.
    Several files, folders, patterns, and URLs such as s3://bucket/marks/*.parquet are one input.

    A line is {"from_account": "user_0001", "to_account": "user_0002", "set_mark": ["favorite", 33],
    "clear_mark": ["hidden"], "custom_mark": "abcd"} with to_group_id for a group, or a request body
    of mark_contact. In CSV marks are separated by "|", a comma, a semicolon or a blank.

    chatmark checks a file to its end before it sends anything, and sends it in as few calls as
    possible. It checks and sends standard input row by row.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def apply(paths: tuple[str, ...], options: _ApplyOptions) -> int:
    if options.failed is None and not options.dry_run:
        refuse_given({"--max-errors": options.max_errors}, "needs --failed")
    if options.html is not None:
        # Report a missing library now, not at the end of a long job.
        load_template()
    if options.ray is not None:
        return _apply_on_cluster(options.ray, paths, options)
    refuse_given({"--ray-partitions": options.ray_partitions}, "needs --ray")
    file = options.files(paths)
    if file.is_stream:
        names = ("verify", "skip_unchanged", "journal", "undo")
        given = {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}
        refuse_given(given, "needs a file that can be read again")
    check_outputs(options.outputs, () if file.is_stream else [each.path for each in file.files])
    target = options.choose_server()
    with contextlib.ExitStack() as stack:
        stream = reading.open_stream(file, stack)
        source: Loaded | ChangeStream
        if target is not None and stream is not None:
            stack.callback(reading.tell_notes, file)
            source = ChangeStream(file, stream, max_errors=options.max_errors)
        else:
            read = reading.read_to_end(paths, options, quiet=options.quiet, stream=stream)
            source = stack.enter_context(read)
        return deliver(target, source, options)


def _apply_on_cluster(address: str, paths: Sequence[str], options: _ApplyOptions) -> int:
    given: dict[str, object] = {"--undo": options.undo, "--show": options.show}
    given |= {"--local": options.local, "standard input": STANDARD_INPUT in paths}
    refuse_given(given, "is not possible with --ray: another process sends")
    check_outputs(options.outputs, paths)
    target = options.choose_target()
    if address == LOCAL:
        stay_on_loopback()
    try:
        joined = ray.joined
    except ModuleNotFoundError:
        raise InputError("ray", "is not installed: pip install 'chatmark[ray]'") from None
    with joined(address):
        job = _ray_job(paths, target, options)
        try:
            name, quiet = job.files.name, options.quiet
            with reading.checking(name, quiet=quiet) as each, _rays_output():
                job.read(*each)
            if not quiet:
                reading.tell_notes(job.files)
            if options.dry_run:
                read = job.input
                print_dry_run(name, read.rows, len(read.bad), read.size, options)
                return 0
            return send_and_report(functools.partial(_run_on_cluster, job), options)
        finally:
            job.release()


def _rays_output() -> contextlib.AbstractContextManager[object]:
    """Send Ray's own messages, of lost nodes for example, to standard error."""
    return contextlib.redirect_stdout(sys.stderr)


def _ray_job(paths: Sequence[str], target: Target, options: _ApplyOptions) -> "ray.RayJob":
    assert target.credentials is not None, "--local is refused above"  # noqa: S101
    budget = target.shared_budget(target.credentials.sdkappid, "low")
    if budget is not None:
        # Wrong arguments fail here; the budget does not connect yet.
        budget()
    settings = {**target.settings}
    base_url = settings.pop("base_url")
    ray_options = ray.RayOptions.of(
        options,
        calls_per_second=target.rate,
        target=target.name,
        budget=budget,
        max_errors=options.max_errors,
        session=settings,
        partitions=options.ray_partitions or 256,
    )
    files = options.files(paths)
    return ray.RayJob(files, target.credentials, ray_options, base_url=base_url)


async def _run_on_cluster(job: "ray.RayJob", display: reading.Display) -> Sent:
    control = Control()
    with endings.stoppable(control, job.close), _rays_output():
        return await job.run(display.show, control), {}


@attrs.frozen(kw_only=True)
class _MarkOptions(Sending):
    user: tuple[str, ...] = _sides("Whose marks change. Repeatable.", metavar="USER")
    users: str | None = _side("A file of users: ids, or a column from_account.", None, "FILE")
    to: tuple[str, ...] = _sides("The other side: an id, c2c_ID or group_ID.", metavar="ID")
    to_group: tuple[str, ...] = _sides("The id of a group. Repeatable.", metavar="ID")
    to_file: str | None = _side("A file of other sides: ids, or a column to_account.", None, "FILE")
    set: tuple[str, ...] = _marks("A mark to set: a name or a number. Repeatable.")
    clear: tuple[str, ...] = _marks("A mark to clear. Repeatable.")
    custom: str | None = _change("The custom mark.", metavar="TEXT")
    clear_custom: bool = _change("Clear the custom mark.", False)


@command(
    _MarkOptions,
    """
    Set and clear marks of conversations: all those between the users and the other sides.

    chatmark mark user_0001 user_0002 --set favorite marks one conversation, and chatmark mark
    --users vips.txt --to support --set favorite,33 one of each user in a file.
    """,
)
@click.argument("ids", nargs=-1, metavar="[USER] [ID]...")
def mark(ids: tuple[str, ...], options: _MarkOptions) -> int:
    users = list(options.user)
    if options.users is not None:
        users += reading.read_ids(options.users, "from_account")
    elif not users:
        users, ids = list(ids[:1]), ids[1:]
    others = [*ids, *options.to]
    if options.to_file is not None:
        others += reading.read_ids(options.to_file, "to_account")
    conversations = [
        *map(reading.conversation_of, others),
        *map(Conversation.group, options.to_group),
    ]
    if not (users and conversations):
        refuse_usage("give a user and another side: chatmark mark USER ID --set MARK")
    if options.custom is not None and options.clear_custom:
        refuse_usage("give one of --custom and --clear-custom")
    target = options.choose_server()
    check_outputs(options.outputs, filter(None, (options.users, options.to_file)))
    rows = _rows(dict.fromkeys(users), dict.fromkeys(conversations), options)
    with load("the command line", rows) as loaded:
        return deliver(target, loaded, options)


def _rows(
    users: Collection[str], conversations: Collection[Conversation], options: _MarkOptions
) -> Iterator[Row]:
    set_mark, clear_mark = (_parsed(each, options.names) for each in (options.set, options.clear))
    custom = "" if options.clear_custom else options.custom
    for number, (user, other) in enumerate(itertools.product(users, conversations), 1):
        yield Row(number, [MarkChange(user, other, set_mark, clear_mark, custom)])


def _parsed(marks: Iterable[str], names: MarkNames) -> ConversationMark:
    return names.parse_all(
        part for mark in marks for part in mark.replace(",", "|").split("|") if part.strip()
    )
