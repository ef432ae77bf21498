"""
`chatmark apply --ray`: a file, or a table of many, sent by the workers of a Ray cluster.
"""

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from chatmark.cli.exit_status import INTERRUPTED, WRONG
from chatmark.cli.options.shared import kept
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import Warnings, complain
from chatmark.cli.render.progress import Display, display_for, sign_of_progress, sign_of_reading
from chatmark.cli.running.finish import ApplyOptions, send_and_tell
from chatmark.cli.running.loading import tell_bad_rows
from chatmark.cli.running.sending import Ending
from chatmark.cli.running.signals import sigterm_interrupts, stoppable
from chatmark.errors import InputError
from chatmark.jobs.grouping.loading import BadRowsError
from chatmark.jobs.options import Control
from chatmark.jobs.reports.page import load_template
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.ray.local import LOCAL, stay_on_loopback

if TYPE_CHECKING:
    from chatmark.ray import RayJob

T = TypeVar("T")


@attrs.frozen
class OnRay:
    """
    Where a job runs.

    Args:
        address: The cluster.
        workers: How many workers there are, None for what suits it.
    """

    address: str
    workers: int | None

    def apply(self, ctx: click.Context, paths: Sequence[str], options: ApplyOptions) -> int:
        """
        Send the changes of files, and return the exit status.
        """
        _check_usage(ctx, paths, options)
        target = Target.of(ctx)
        with sigterm_interrupts(), _joined(self.address):
            job = _job(paths, target, options, self.workers)
            try:
                status = _read(job, paths, options)
                if status is not None:
                    return status
                if options.dry_run:
                    return asyncio.run(_check(job, paths, quiet=options.quiet))
                return send_and_tell(lambda: _send(job, options), options, command=ctx.obj)
            finally:
                job.release()


def ray_options(command: Callable[..., T]) -> Callable[..., T]:
    """
    Add the options of a cluster; the command gets them as `onray`, None without.
    """

    @functools.wraps(command)
    def with_ray(*args: Any, **given: Any) -> T:
        address: str | None = given.pop("ray")
        workers: int | None = given.pop("ray_workers")
        if address is None and workers is not None:
            raise click.UsageError("--ray-workers needs --ray")
        return command(*args, onray=None if address is None else OnRay(address, workers), **given)

    wrapped: Callable[..., T] = with_ray
    for option in (
        click.option(
            "--ray-workers",
            type=click.IntRange(min=1),
            envvar="CHATMARK_RAY_WORKERS",
            metavar="N",
            help="Workers on the cluster, a CPU each.  [default: one a CPU, 4 at most]",
        ),
        click.option(
            "--ray",
            envvar="CHATMARK_RAY",
            metavar="ADDRESS",
            help="Send from a Ray cluster: auto joins the one of this machine, HOST:PORT another, "
            "local starts one.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _check_usage(ctx: click.Context, paths: Sequence[str], options: ApplyOptions) -> None:
    """
    Refuse what a cluster cannot do.
    """
    for option, is_given in (
        ("--journal", options.journaling.path is not None),
        ("--show", bool(options.show)),
        ("--local", bool(kept(ctx, "local"))),
        ("standard input", STANDARD_INPUT in paths),
    ):
        if is_given:
            raise click.UsageError(f"{option} belongs to this process, and --ray to others", ctx)
    if options.inputs.max_errors and options.failed is None and not options.dry_run:
        raise click.UsageError("--max-errors needs --failed, for the rows that are set aside", ctx)
    if options.html is not None:
        load_template()


@contextlib.contextmanager
def _joined(address: str) -> Generator[None]:
    if address == LOCAL:
        stay_on_loopback()
    try:
        from chatmark.ray import joined  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError:
        raise InputError("ray", "needs more: pip install 'chatmark[ray]'") from None
    warnings = Warnings(logging.WARNING)
    logger = logging.getLogger("chatmark")
    logger.addHandler(warnings)
    try:
        with joined(address):
            yield
    finally:
        logger.removeHandler(warnings)


def _ray_aside() -> contextlib.AbstractContextManager[object]:
    """
    Keep what Ray has to say, of lost workers for example, out of what the command answers.
    """
    return contextlib.redirect_stdout(sys.stderr)


def _job(
    paths: Sequence[str], target: Target, options: ApplyOptions, workers: int | None
) -> "RayJob":
    from chatmark.ray import RayJob, RayOptions  # noqa: PLC0415 - an extra.

    calling, inputs = options.calling.options, options.inputs
    assert target.credentials is not None, "only the emulator in this process has none"  # noqa: S101
    rate = calling.pop("rate")
    ray_options_ = RayOptions(
        workers=workers,
        calls_per_second=rate,
        budget=target.shared_budget(rate=rate, priority="low"),
        failed=None if options.dry_run else options.failed,
        max_errors=inputs.max_errors,
        skip_unchanged=options.skip_unchanged,
        verify=options.verify,
        session={**calling, "max_in_flight": options.max_in_flight},
    )
    return RayJob.of(
        paths,
        target.credentials,
        ray_options_,
        region=target.region,
        base_url=target.base_url,
        format_=inputs.format,
        names=inputs.names,
        columns=inputs.columns,
    )


def _read(job: "RayJob", paths: Sequence[str], options: ApplyOptions) -> int | None:
    """
    Read the files to their end; return the exit status where that is the end of it all.
    """
    try:
        with display_for(quiet=options.quiet) as display, _ray_aside():
            job.read(sign_of_reading(display, ", ".join(paths)))
    except KeyboardInterrupt:
        complain("interrupted while the files were checked: nothing was sent")
        return INTERRUPTED
    except BadRowsError as error:
        tell_bad_rows(error)
        return WRONG
    return None


async def _check(job: "RayJob", paths: Sequence[str], *, quiet: bool) -> int:
    with _ray_aside():
        load = await job.load()
    bad = f"; {job.bad:,} rows would be set aside" if job.bad else ""
    if not quiet:
        click.echo(
            f"{', '.join(paths)}: {load.changes:,} changes in {job.rows:,} rows, of "
            f"{load.users:,} users and {load.units:,} conversations: {load.calls:,} calls{bad}; "
            "nothing was sent"
        )
    return 0


def _send(job: "RayJob", options: ApplyOptions) -> Ending:
    with display_for(quiet=options.quiet) as display, _ray_aside():
        return asyncio.run(_run(job, display))


async def _run(job: "RayJob", display: Display) -> Ending:
    control = Control()
    with stoppable(control, job):
        await job.load()
        report = await job.run(sign_of_progress(display), control)
    return Ending(report, can_go_on=False)
