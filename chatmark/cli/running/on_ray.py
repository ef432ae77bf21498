"""`chatmark apply --ray`: a Ray cluster reads files and sends their changes."""

import asyncio
import contextlib
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from chatmark import InputError
from chatmark.cli.options.apply import ApplyOptions
from chatmark.cli.options.groups import refuse_given
from chatmark.cli.options.ray import Cluster
from chatmark.cli.options.target import Target
from chatmark.cli.render.progress import Display, display_for, job_reporter
from chatmark.cli.running.loading import checking, tell_notes
from chatmark.cli.running.outcome import Sent, print_dry_run, send_and_report
from chatmark.cli.running.signals import stoppable
from chatmark.jobs.options import Control
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.ray.local import LOCAL, stay_on_loopback

if TYPE_CHECKING:
    from chatmark.ray import RayJob


def apply_on_cluster(cluster: Cluster, paths: Sequence[str], options: ApplyOptions) -> int:
    """Send the changes of files, and return the exit status."""
    given = {
        "--undo": options.job.undo,
        "--show": options.show,
        "--local": options.access.local,
        "standard input": STANDARD_INPUT in paths,
    }
    refuse_given(given, "is not possible with --ray: another process sends")
    check_outputs(options.outputs, paths)
    target = options.access.target()
    with _joined(cluster.ray):
        job = _job(paths, target, options, cluster.ray_partitions)
        try:
            with checking(job.files.name, quiet=options.quiet) as sign, _without_ray_output():
                job.read(sign.check, sign.group)
            if not options.quiet:
                tell_notes(job.files)
            if options.dry_run:
                rows, bad = job.input.rows, len(job.input.bad)
                print_dry_run(job.files.name, rows, bad, job.input.size, options)
                return 0
            return send_and_report(lambda: _send(job, options), options, options.inputs.names)
        finally:
            job.release()


@contextlib.contextmanager
def _joined(address: str) -> Generator[None]:
    if address == LOCAL:
        stay_on_loopback()
    try:
        from chatmark.ray import joined  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError:
        raise InputError("ray", "is not installed: pip install 'chatmark[ray]'") from None
    with joined(address):
        yield


def _without_ray_output() -> contextlib.AbstractContextManager[object]:
    """Send Ray's own messages, of lost nodes for example, to standard error."""
    return contextlib.redirect_stdout(sys.stderr)


def _job(
    paths: Sequence[str], target: Target, options: ApplyOptions, partitions: int | None
) -> "RayJob":
    from chatmark.ray import RayJob, RayOptions  # noqa: PLC0415 - an extra.

    session, inputs = options.calling.options | target.way, options.inputs
    assert target.credentials is not None, "--local is refused above"  # noqa: S101
    rate = session.pop("rate")
    more = {} if partitions is None else {"partitions": partitions}
    ray_options = RayOptions.of(
        options.job,
        calls_per_second=rate,
        target=target.name,
        budget=target.shared_budget(rate=rate, priority="low"),
        max_errors=inputs.max_errors,
        session=session,
        **more,
    )
    return RayJob(
        inputs.files(paths),
        target.credentials,
        ray_options,
        region=target.region,
        base_url=target.base_url,
    )


def _send(job: "RayJob", options: ApplyOptions) -> Sent:
    with display_for(quiet=options.quiet) as display, _without_ray_output():
        return asyncio.run(_run(job, display))


async def _run(job: "RayJob", display: Display) -> Sent:
    control = Control()
    with stoppable(control, job):
        return Sent(await job.run(job_reporter(display), control))
