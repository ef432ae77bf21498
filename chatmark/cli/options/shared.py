"""Options that several commands share: of calls, of jobs, of a Ray cluster, and of output."""

import functools
from typing import Any

import attrs
import click

from chatmark.cli.options.access import SERVER, SERVER_OR_LOCAL, Access, Target
from chatmark.cli.options.groups import click_option, group, option, options_of, refuse_given
from chatmark.cli.options.inputs import INPUTS, Inputs
from chatmark.conversations import check_id
from chatmark.jobs.options import JobOptions
from chatmark.limits import MAX_USER_ID_BYTES
from chatmark.pacing.window import parse_rate

_call = functools.partial(option, title="Calls")
_output = functools.partial(option, title="Output")
_ray = functools.partial(option, title="Ray cluster")


def _rate(_: object, __: object, rate: str) -> float | None:
    return parse_rate(rate, "--rate") or None


@attrs.frozen
class Calling:
    """The calls of a session: their rate (None without a limit), their times and their number."""

    rate: float | None = _call(
        "Calls a second, or a share such as 190/8 for each of eight processes; 0 without a limit. "
        "The vendor allows 200 for a whole application.",
        "190",
        metavar="RATE",
        callback=_rate,
    )
    timeout: float = _call(
        "The time of one attempt.", 10.0, metavar="SECONDS", type=click.FloatRange(min=0.001)
    )
    deadline: float = _call(
        "The time of one change or reading call, from its first attempt.", 60.0, metavar="SECONDS"
    )
    max_in_flight: int | None = _call(
        "The most requests at once; by default they follow the rate and the round trip. Requests "
        "in flight when the process is killed are sent again.",
        metavar="N",
        type=click.IntRange(min=1),
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of `Target.session`."""
        return attrs.asdict(self)


def _job_option(name: str, text: str, title: str = "Journal", **settings: Any) -> click.Option:
    default = attrs.fields_dict(JobOptions)[name].default
    return click_option(name, text, default, title=title, **settings)


def _job(*, journal: str | None, **given: Any) -> JobOptions:
    if journal is None:
        refuse_given({"--keep-journal": given["keep_journal"]}, "needs --journal")
        refuse_given({"--accept-changed-input": given["accept_changed_input"]}, "needs --journal")
    return JobOptions(journal=journal, **given)


_JOB = group(
    _job,
    _job_option(
        "journal",
        "Note in FILE what is settled; the same command continues where it stopped.",
        metavar="FILE",
    ),
    _job_option(
        "journal_sync",
        "The most seconds of work that a loss of power may take from the journal.",
        metavar="SECONDS",
    ),
    _job_option("keep_journal", "Keep the journal when everything took effect."),
    _job_option(
        "accept_changed_input",
        "Continue although the rows have changed: users with the same rows are not sent again, the "
        "others are sent whole.",
    ),
    _job_option(
        "undo",
        "Write first the rows that bring back what was: apply FILE restores it.",
        "Job",
        metavar="FILE",
    ),
    _job_option("skip_unchanged", "Read what is there; send what changes it.", "Job"),
    _job_option("verify", "Read the conversations back and compare.", "Job"),
    _job_option("failed", "Write what failed as rows to apply again.", "Job", metavar="FILE"),
)


@attrs.frozen(kw_only=True)
class Cluster:
    """The Ray cluster of a job."""

    ray: str = _ray(
        "Send from a Ray cluster: auto joins the cluster of this machine, HOST:PORT joins another, "
        "local starts one.",
        metavar="ADDRESS",
    )
    ray_partitions: int | None = _ray(
        "Parts of the changes, by user; a loss costs one.  [default: 256]",
        metavar="N",
        type=click.IntRange(min=1),
    )


def _cluster(ray: str | None, ray_partitions: int | None) -> Cluster | None:
    if ray is None:
        refuse_given({"--ray-partitions": ray_partitions}, "needs --ray")
        return None
    return Cluster(ray=ray, ray_partitions=ray_partitions)


@attrs.frozen(kw_only=True)
class ReadingOptions:
    """The options of the commands that read many users from a server."""

    access: Access = SERVER
    calling: Calling = group(Calling)
    quiet: bool = option("Print nothing but results and errors.", False, names=["-q", "--quiet"])


@attrs.frozen(kw_only=True)
class ComparingOptions(ReadingOptions):
    """The options of the commands that compare a file with the server."""

    inputs: Inputs = INPUTS
    as_json: bool = option("Print the result as JSON.", False, names=["--json"])


@attrs.frozen(kw_only=True)
class SendingOptions:
    """The options of the commands that send changes."""

    access: Access = SERVER_OR_LOCAL
    calling: Calling = group(Calling)
    job: JobOptions = _JOB
    dry_run: bool = option("Check everything, and send nothing.", False)
    report: str | None = _output("Write a summary as JSON.", metavar="FILE")
    html: str | None = _output("Write a page about the job, with a plot of it.", metavar="FILE")
    as_json: bool = _output("Print the summary as JSON.", False, names=["--json"])
    show: tuple[str, ...] = _output(
        "Show this user's marks at the end.", multiple=True, metavar="USER"
    )
    quiet: bool = _output("Print nothing but errors.", False, names=["-q", "--quiet"])

    @property
    def outputs(self) -> dict[str, str | None]:
        """The path of each output by its option."""
        of_job = {f"--{each}": getattr(self.job, each) for each in ("journal", "failed", "undo")}
        return {"--report": self.report, "--html": self.html, **of_job}

    def target(self) -> Target | None:
        """Return the server, None with --dry-run; refuse options that do not fit."""
        for user in self.show:
            check_id("show", user, MAX_USER_ID_BYTES)
        if self.dry_run:
            return None
        target = self.access.target()
        if not target.name:
            refuse_given({"--journal": self.job.journal}, "needs another server than --local")
        return target


@attrs.frozen(kw_only=True)
class ApplyOptions(SendingOptions):
    """The options of `chatmark apply`."""

    inputs: Inputs = INPUTS
    cluster: Cluster | None = group(_cluster, *options_of(Cluster))
