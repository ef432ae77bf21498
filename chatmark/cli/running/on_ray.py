"""`chatmark apply --ray`: the workers of a Ray cluster send the changes of files."""

import asyncio
import contextlib
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import attrs

from chatmark import InputError
from chatmark.cli.options.access import Target, shared_budget
from chatmark.cli.options.groups import refuse_given
from chatmark.cli.options.shared import ApplyOptions, Cluster
from chatmark.cli.render.progress import Display, job_reporter
from chatmark.cli.running.reading import checking
from chatmark.cli.running.sending import Sent, print_dry_run, send_and_report
from chatmark.cli.running.signals import stoppable
from chatmark.jobs.options import Control
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.ray.local import LOCAL, stay_on_loopback

if TYPE_CHECKING:
    from chatmark.ray import RayJob


def apply_on_cluster(cluster: Cluster, paths: Sequence[str], options: ApplyOptions) -> int:
    """Send the changes of files, and return the exit status."""
    given = {
        "--journal": options.job.journal,
        "--undo": options.job.undo,
        "--show": options.show,
        "--local": options.access.local,
        "standard input": STANDARD_INPUT in paths,
    }
    refuse_given(given, "is not possible with --ray: the workers are other processes")
    target = options.access.target()
    name = ", ".join(paths)
    with _joined(cluster.ray):
        job = _job(paths, target, options, cluster.ray_workers)
        try:
            with checking(name, quiet=options.quiet) as (check, _), _without_ray_output():
                job.read(check)
            if options.dry_run:
                with _without_ray_output():
                    size = asyncio.run(job.load())
                print_dry_run(name, job.rows, job.bad, size, options)
                return 0
            return send_and_report(
                lambda display: _load_and_run(job, display), options, options.inputs.names
            )
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
    """Send Ray's own messages, of lost workers for example, to standard error."""
    return contextlib.redirect_stdout(sys.stderr)


def _job(
    paths: Sequence[str], target: Target, options: ApplyOptions, workers: int | None
) -> "RayJob":
    from chatmark.ray import RayJob, RayOptions  # noqa: PLC0415 - an extra.

    session, inputs = options.calling.options | target.way, options.inputs
    assert target.credentials is not None, "--local is refused above"  # noqa: S101
    rate, budget = session.pop("rate"), None
    if target.pace is not None:
        budget = shared_budget(target.pace, target.credentials.sdkappid, rate, "low")
        # Wrong arguments fail here; the budget does not connect yet.
        budget()
    failed = None if options.dry_run else options.job.failed
    ray_options = RayOptions.of(
        attrs.evolve(options.job, calls_per_second=rate, failed=failed),
        workers=workers,
        budget=budget,
        max_errors=inputs.max_errors,
        session=session,
    )
    return RayJob(
        paths,
        target.credentials,
        ray_options,
        region=target.region,
        base_url=target.base_url,
        format_=inputs.format,
        names=inputs.names,
        columns=inputs.columns,
    )


async def _load_and_run(job: "RayJob", display: Display) -> Sent:
    control = Control()
    with stoppable(control, job), _without_ray_output():
        await job.load()
        report = await job.run(job_reporter(display), control)
    return Sent(report, can_resume=False)
